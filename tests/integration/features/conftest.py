"""The features service as a process, on a broker and a Valkey of its own: topics have fixed names."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient

from deploy.local.kafka import Kafka, Node
from deploy.local.ports import Ports
from deploy.local.stack import CACHE_DIR
from deploy.local.valkey import Valkey
from shared.contracts import topics
from shared.contracts.topics import DEAD_LETTERS, FEATURES, OUTCOMES, TRANSACTIONS
from shared.feature_state import FeatureStateStore, Position
from shared.feature_state.packing import unpacked
from shared.kafka.admin import ensure_topics
from shared.kafka.producer import OutgoingRecord, ReliableProducer
from shared.settings import KafkaSettings

WAIT_SECONDS = 90.0
"""For a condition that comes about within seconds on an idle machine."""
POLL_SECONDS = 0.05
PARTITIONS = 4

Condition = Callable[[], Awaitable[bool]]


async def until(condition: Condition, seconds: float = WAIT_SECONDS) -> None:
    """Wait for a condition that lies in another process. Raises TimeoutError."""
    async with asyncio.timeout(seconds):
        while not await condition():  # noqa: ASYNC110 (the condition lies in another process)
            await asyncio.sleep(POLL_SECONDS)


@dataclass
class Features:
    """One process of the service."""

    process: asyncio.subprocess.Process
    port: int
    log: Path

    async def is_ready(self) -> bool:
        assert self.process.returncode is None, self.log.read_text()
        with contextlib.suppress(httpx.TransportError):
            async with httpx.AsyncClient() as client:
                return (await client.get(f"http://127.0.0.1:{self.port}/ready")).status_code == 200
        return False

    async def is_waiting(self) -> bool:
        """Whether it has said that a dependency is away."""
        return bool(self.events("waiting_for_dependency"))

    async def metric(self, sample: str) -> float | None:
        """The value of a sample, as `name{labels}`; None where there is none."""
        async with httpx.AsyncClient() as client:
            text = (await client.get(f"http://127.0.0.1:{self.port}/metrics")).text
        return next((float(line.rpartition(" ")[2]) for line in text.splitlines() if line.startswith(sample)), None)

    def kill(self) -> None:
        self.process.kill()

    async def exit_code(self, seconds: float = WAIT_SECONDS) -> int:
        async with asyncio.timeout(seconds):
            return await self.process.wait()

    async def terminate(self, seconds: float = 10.0) -> int:
        """SIGTERM, as a deployment sends it; the exit code, within the grace period."""
        self.process.send_signal(signal.SIGTERM)
        return await self.exit_code(seconds)

    def events(self, name: str) -> list[dict[str, Any]]:
        """The log lines with this event name."""
        lines = [json.loads(line) for line in self.log.read_text().splitlines() if line.startswith("{")]
        return [line for line in lines if line["event"] == name]


@dataclass
class Rig:
    """Empty topics, an empty Valkey, and as many processes of the service as a test wants."""

    kafka: Kafka
    valkey: Valkey
    folder: Path
    settings: KafkaSettings
    producer: ReliableProducer
    store: FeatureStateStore
    running: list[Features] = field(default_factory=list)

    async def start(self, **environment: str) -> Features:
        """Start the service. It need not be ready yet."""
        with socket.create_server(("127.0.0.1", 0)) as listener:
            port = int(listener.getsockname()[1])
        log = self.folder / f"features-{len(self.running)}.log"
        settings = {
            "KAFKA__BOOTSTRAP_SERVERS": self.settings.bootstrap_servers,
            "REDIS__URL": self.valkey.url,
            "METRICS__PORT": str(port),
        }
        with log.open("wb") as output:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "services.features"),
                env={**os.environ, **settings, **environment},
                stderr=output,
            )
        features = Features(process, port, log)
        self.running.append(features)
        return features

    async def start_ready(self, **environment: str) -> Features:
        features = await self.start(**environment)
        await until(features.is_ready)
        return features

    async def send(self, records: Sequence[OutgoingRecord]) -> None:
        await self.producer.send_all(records)

    async def records(self, topic: str) -> list[ConsumerRecord[bytes, bytes]]:
        """All that stands on a topic now, partition by partition."""
        consumer = AIOKafkaConsumer(
            bootstrap_servers=self.settings.bootstrap_servers, auto_offset_reset="earliest", enable_auto_commit=False
        )
        await consumer.start()
        try:
            partitions = [TopicPartition(topic, number) for number in range(PARTITIONS)]
            consumer.assign(partitions)
            ends = await consumer.end_offsets(partitions)
            found: dict[TopicPartition, list[ConsumerRecord[bytes, bytes]]] = {tp: [] for tp in partitions}
            while any([await consumer.position(tp) < ends[tp] for tp in partitions]):
                for tp, fetched in (await consumer.getmany(timeout_ms=200)).items():
                    found[tp].extend(fetched)
            return [record for tp in partitions for record in found[tp]]
        finally:
            await consumer.stop()

    async def vectors(self) -> list[dict[str, Any]]:
        return [json.loads(record.value or b"") for record in await self.records(FEATURES.name)]

    async def letters(self) -> list[dict[str, Any]]:
        return [json.loads(record.value or b"") for record in await self.records(DEAD_LETTERS.name)]

    async def ends(self, topic: str) -> dict[int, int]:
        """One past the last offset of each partition."""
        admin = AIOKafkaConsumer(bootstrap_servers=self.settings.bootstrap_servers)
        await admin.start()
        try:
            found = await admin.end_offsets([TopicPartition(topic, number) for number in range(PARTITIONS)])
            return {partition.partition: end for partition, end in found.items()}
        finally:
            await admin.stop()

    async def positions(self) -> dict[int, Position]:
        return {number: await self.store.position(number) for number in range(PARTITIONS)}

    async def has_caught_up(self) -> bool:
        """Whether everything on both input topics is in the states.

        The ends are asked for last: a record that is sent again to another partition lies there before the position
        moves over it where it lay.
        """
        positions = await self.positions()
        transactions, outcomes = await self.ends(TRANSACTIONS.name), await self.ends(OUTCOMES.name)
        return positions == {
            number: Position(transactions[number] - 1, outcomes[number] - 1) for number in range(PARTITIONS)
        }

    async def committed(self) -> dict[tuple[str, int], int]:
        """Offsets that the group has committed."""
        admin = AIOKafkaAdminClient(bootstrap_servers=self.settings.bootstrap_servers)
        await admin.start()
        try:
            offsets = await admin.list_consumer_group_offsets("flit-features")
            return {(tp.topic, tp.partition): at.offset for tp, at in offsets.items()}
        finally:
            await admin.close()

    async def states(self) -> dict[str, bytes]:
        """Every customer's state."""
        found: dict[str, bytes] = {}
        async for key in self.store._redis.scan_iter("{p*}:c:*", count=1000):
            value = await self.store._redis.get(key)
            assert isinstance(value, bytes)
            found[bytes(key).decode().partition(":c:")[2]] = unpacked(value)
        return found


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Kafka, Valkey]]:
    folder, ports = tmp_path_factory.mktemp("features-parts"), Ports().settle()
    kafka = Kafka(folder / "kafka", [Node(1, ports.kafka, ports.kafka_controller)], CACHE_DIR)
    valkey = Valkey(folder / "valkey", ports.valkey)
    try:
        kafka.start()
        valkey.start()
        yield kafka, valkey
    finally:
        kafka.stop()
        valkey.stop()


@pytest.fixture
async def rig(parts: tuple[Kafka, Valkey], tmp_path: Path) -> AsyncIterator[Rig]:
    kafka, valkey = parts
    settings = KafkaSettings(bootstrap_servers=kafka.bootstrap_servers, partitions=PARTITIONS)
    await _empty_topics(settings)
    producer, store = ReliableProducer(settings), FeatureStateStore.connect(valkey.url)
    await store._redis.flushall()
    await producer.start()
    rig = Rig(kafka, valkey, tmp_path, settings, producer, store)
    try:
        yield rig
    finally:
        for features in rig.running:
            if features.process.returncode is None:
                features.kill()
                await features.process.wait()
        await producer.stop()
        await store.close()


async def _empty_topics(settings: KafkaSettings) -> None:
    """Every topic anew, and no group that remembers the old ones."""
    admin = AIOKafkaAdminClient(bootstrap_servers=settings.bootstrap_servers)
    await admin.start()
    try:
        present = set(await admin.list_topics()) & set(topics.BY_NAME)
        if present:
            await admin.delete_topics(sorted(present))

        async def gone() -> bool:
            return not set(await admin.list_topics()) & set(topics.BY_NAME)

        await until(gone)
    finally:
        await admin.close()
    await ensure_topics(settings)
