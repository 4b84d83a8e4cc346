"""The scorer as a process, on a broker and a Valkey that no other test uses: its topics and keys have fixed names."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
import uvloop
from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from redis.asyncio import Redis

from deploy.local.kafka import Kafka, Node
from deploy.local.ports import free_ports
from deploy.local.processes import ManagedProcess
from deploy.local.services import metrics_of, status_of
from deploy.local.stack import CACHE_DIR
from deploy.local.valkey import Valkey
from services.scorer.restore import ClaimRestorer
from shared.contracts import topics
from shared.contracts.events import FeatureVector, encode
from shared.contracts.headers import cloud_event
from shared.feature_state import EMPTY, FeatureStateStore
from shared.kafka.admin import ensure_topics
from shared.kafka.producer import OutgoingRecord, ReliableProducer
from shared.model_artifact.registry import ModelRegistry
from shared.settings import KafkaSettings

WAIT_S = 60
POLL_S = 0.02


def pytest_asyncio_loop_factories(item: pytest.Item) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Where the door runs in the test's own process, it runs on the loop that the service has."""
    if item.path.name == "test_connections.py":
        return {"uvloop": uvloop.new_event_loop}
    return {"asyncio": asyncio.new_event_loop}


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    """Wait until `condition` holds; TimeoutError after a minute."""
    async with asyncio.timeout(WAIT_S):
        while not await condition():  # noqa: ASYNC110 (the condition lies in another process)
            await asyncio.sleep(POLL_S)


@dataclass
class Parts:
    """What the scorer stands on."""

    kafka: Kafka
    valkey: Valkey
    folder: Path

    @property
    def kafka_settings(self) -> KafkaSettings:
        return KafkaSettings(bootstrap_servers=self.kafka.bootstrap_servers)


@dataclass
class Scorer:
    """A running scorer."""

    process: ManagedProcess
    url: str
    metrics_port: int

    def metric(self, sample: str) -> float:
        """A sample by its name with labels; 0 where there is none yet."""
        return metrics_of(self.metrics_port).get(sample, 0.0)


@dataclass
class Rig:
    """The real parts, with ways to ask and to look."""

    parts: Parts
    redis: Redis
    producer: ReliableProducer
    registry: ModelRegistry
    folder: Path

    @asynccontextmanager
    async def scorer(self, **settings: str) -> AsyncIterator[Scorer]:
        """The service, ready; ended with SIGTERM. `settings`: environment variables beside the parts' addresses."""
        port, metrics_port = free_ports(2)
        environment = {
            **os.environ,
            "KAFKA__BOOTSTRAP_SERVERS": self.parts.kafka.bootstrap_servers,
            "REDIS__URL": self.parts.valkey.url,
            "MODEL_REGISTRY__URI": str(self.registry.root),
            "SCORER__HTTP_PORT": str(port),
            "METRICS__PORT": str(metrics_port),
            "SCORER__RELOAD_SECONDS": "0.05",
            # Purchases of the tests have fixed times, which may lie ahead of the clock of the machine that runs them.
            "LIMITS__MAX_FUTURE_SECONDS": "1000000000",
            # A busy test machine is no outage of Redis.
            "SCORER__REDIS_TIMEOUT_MS": "5000",
            "SCORER__PUBLISH_TIMEOUT_MS": "30000",
            "SCORER__DEADLINE_MS": "60000",
            "SCORER__ANSWER_WITHIN_MS": "60000",
            **settings,
        }
        process = ManagedProcess(
            "scorer",
            [sys.executable, "-m", "services.scorer"],
            log_file=self.folder / f"scorer-{port}.log",
            environment=environment,
        )
        await asyncio.to_thread(process.start)
        try:
            await asyncio.to_thread(process.wait_until, lambda: status_of(metrics_port, "/ready") == 200, WAIT_S)
            yield Scorer(process, f"http://127.0.0.1:{port}", metrics_port)
        finally:
            await asyncio.to_thread(process.stop)

    async def begin(self, partition: int) -> None:
        """Have states, though none yet: as the features service does at its first start."""
        await FeatureStateStore(self.redis).begin(partition, EMPTY)

    async def send_vectors(self, *vectors: FeatureVector) -> None:
        """As the features service does."""
        await self.producer.send_all([self.vector_record(vector) for vector in vectors])

    def vector_record(self, vector: FeatureVector) -> OutgoingRecord:
        marks = cloud_event(
            event_id=vector.event_id, kind="feature-vector", source="flit/features", time=vector.computed_at
        )
        return OutgoingRecord(topics.FEATURES.name, vector.customer_id.encode(), encode(vector), marks)

    async def records(self, topic: str) -> list[ConsumerRecord]:
        """All that stands on the topic now, by partition and offset."""
        consumer = AIOKafkaConsumer(bootstrap_servers=self.parts.kafka.bootstrap_servers, auto_offset_reset="earliest")
        await consumer.start()
        try:
            places = [TopicPartition(topic, number) for number in range(self.parts.kafka_settings.partitions)]
            ends = await consumer.end_offsets(places)
            consumer.assign(places)
            found: list[ConsumerRecord] = []
            while [place for place in places if await consumer.position(place) < ends[place]]:
                for records in (await consumer.getmany(timeout_ms=200)).values():
                    found.extend(records)
            return sorted(found, key=lambda record: (record.partition, record.offset))
        finally:
            await consumer.stop()

    async def decisions(self, event_id: str) -> list[bytes]:
        """Every record of the event on risk-decisions."""
        marked = ("ce_id", event_id.encode())
        return [record.value for record in await self.records(topics.DECISIONS.name) if marked in record.headers]

    async def decided(self, event_id: str) -> bytes:
        """The event's decision, once it is on the topic."""
        found: list[bytes] = []

        async def there() -> bool:
            found[:] = await self.decisions(event_id)
            return bool(found)

        await until(there)
        return found[0]


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Parts]:
    folder = tmp_path_factory.mktemp("scorer")
    client, controller, valkey_port = free_ports(3)
    kafka = Kafka(folder / "kafka", [Node(1, client, controller)], CACHE_DIR)
    valkey = Valkey(folder / "valkey", valkey_port)
    try:
        valkey.start()
        kafka.start()
        yield Parts(kafka, valkey, folder)
    finally:
        kafka.stop()
        valkey.stop()


@pytest.fixture
async def rig(parts: Parts, tmp_path: Path) -> AsyncIterator[Rig]:
    await ensure_topics(parts.kafka_settings)
    redis = Redis.from_url(parts.valkey.url)
    producer = ReliableProducer(parts.kafka_settings)
    await producer.start()
    store = FeatureStateStore(redis)
    for partition in range(parts.kafka_settings.partitions):
        if (await store.standing(partition)).position is None:
            await store.begin(partition, EMPTY)  # as the features service does at its first start
    assert await ClaimRestorer(redis, parts.kafka_settings, ttl_s=60, settle_s=0).restore()
    try:
        yield Rig(parts, redis, producer, ModelRegistry(str(tmp_path / "models")), tmp_path)
    finally:
        await producer.stop()
        await redis.aclose()


@pytest.fixture
async def http() -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(timeout=30) as client:
        yield client
