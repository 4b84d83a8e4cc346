"""The system under load that faults are put into, and what can be told of it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

from aiokafka import AIOKafkaProducer, ConsumerRecord
from aiokafka.errors import KafkaError

from deploy.local.bigquery import BigQuery
from deploy.local.kafka import Kafka, Node
from deploy.local.ports import free_ports
from deploy.local.processes import ManagedProcess
from deploy.local.services import Service, metrics_of
from deploy.local.stack import CACHE_DIR
from services.ledger.log_reader import LogReader
from shared.contracts.identity import partition_of
from shared.contracts.topics import DECISIONS
from shared.kafka.connection import admin_client
from shared.model_artifact.registry import ModelRegistry
from tests import factories
from tests.chaos.proxy import Proxy
from tests.chaos.signing import PUBLIC_KEYS, new_signer
from tests.e2e.system import PATIENCE_SECONDS, Log, System, until
from tests.unit.scorer.parts import register

RATE = 100
"""Purchases a second of the steady load."""

PROGRESS = 60
"""Decisions that have to follow for the system to count as working."""

CONTROLS_FOLDER = Path(__file__).with_name("controls")

GRACE_S = 20.0
"""From SIGTERM to SIGKILL: less than any deployment of ours gives."""

SERVICES = ("simulator", "features", "scorer", "sink", "ingestor")


@dataclass(frozen=True, slots=True)
class Message:
    """A record of an outside producer."""

    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes | None], ...] = ()
    place: int | None = None
    """Its partition, where that isn't the one that its key gives."""


@dataclass(frozen=True, slots=True)
class Extra:
    """A further process of a service."""

    service: Service
    process: ManagedProcess


class World:
    """One system with a signed model in service, a steady stream, and a proxy on each link."""

    def __init__(
        self,
        data_dir: Path,
        seed: int,
        settings: dict[str, str] | None = None,
        *,
        brokers: int = 1,
        rate: int = RATE,
    ) -> None:
        """`rate`: of the steady load, in purchases a second."""
        self.dice = random.Random(seed)
        self.rate = rate
        self.notes: list[str] = []
        """What a fault measured, for whoever looks at the run."""
        self.data_dir = data_dir
        self.points = data_dir / "points"
        self.clocks = data_dir / "clocks"
        for folder in (self.points, self.clocks):
            folder.mkdir(parents=True, exist_ok=True)
        self.signer = new_signer(data_dir)
        self.registry = ModelRegistry(str(data_dir / "models"), signer=self.signer)
        self.model = register(self.registry)
        self.registry.promote(self.model, "chaos")
        own = {
            "INGESTOR__RATE": str(rate),
            "PYTHONPATH": f"{CONTROLS_FOLDER}:{Path.cwd()}",
            "CHAOS_POINTS": str(self.points),
            "CHAOS_CLOCKS": str(self.clocks),
            "MODEL_REGISTRY__PUBLIC_KEYS_FILE": str(data_dir / PUBLIC_KEYS),
        }
        self.system = System(data_dir, SERVICES, own | (settings or {}), brokers=brokers)
        stack = self.system.stack
        self.warehouse_trouble = data_dir / "warehouse-trouble"
        stack.bigquery = self._faulty(stack.bigquery, seed)
        redis, warehouse, source, kafka, door, controller = free_ports(6)
        self.redis_link = Proxy(redis, urlsplit(stack.valkey.url).port or 0)
        self.warehouse_link = Proxy(warehouse, int(stack.bigquery.grpc_endpoint.rpartition(":")[2]))
        self.source_link = Proxy(source, int(self.system.settings["SIMULATOR__PORT"]))
        self.kafka_link = Proxy(kafka, door)
        """Only where there is one broker: of several, each would need one."""
        self.links = (self.redis_link, self.warehouse_link, self.source_link, self.kafka_link)
        self.system.settings["REDIS__URL"] = f"redis://127.0.0.1:{redis}/0"
        self.system.settings["BIGQUERY__GRPC_ENDPOINT"] = f"127.0.0.1:{warehouse}"
        self.system.settings["SIMTOM__URL"] = f"http://127.0.0.1:{source}"
        if brokers == 1:
            port = int(stack.kafka.bootstrap_servers.rpartition(":")[2])
            node = Node(1, port, controller, proxied=(door, kafka))
            stack.kafka = Kafka(data_dir / "stack" / "kafka", [node], CACHE_DIR)
            self.system.settings["KAFKA__BOOTSTRAP_SERVERS"] = f"127.0.0.1:{kafka}"
        self._running = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as running:
            for link in self.links:
                running.enter_context(link)
            running.enter_context(self.system)
            self._running = running.pop_all()
        self.log = Log(self.system.stack.kafka.bootstrap_servers)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._running.__exit__(kind, error, trace)

    def _faulty(self, healthy: BigQuery, seed: int) -> BigQuery:
        """The same with a launcher that answers with errors while the file of its trouble exists."""
        rest, grpc = (int(door.rpartition(":")[2]) for door in (healthy.rest_endpoint, healthy.grpc_endpoint))
        environment = {**os.environ, "TROUBLE_FILE": str(self.warehouse_trouble), "TROUBLE_SEED": str(seed)}
        program = (sys.executable, "-m", "tests.chaos.faulty_emulator")
        return BigQuery(self.data_dir / "stack" / "bigquery", rest, grpc, program=program, environment=environment)

    @asynccontextmanager
    async def started_again_with(self, service: str, **environment: str) -> AsyncIterator[None]:
        """As `restarted_with`, once it is there."""
        pid = self.process(service).pid
        with self.restarted_with(service, **environment):
            await self.started_again(service, pid)
            yield

    @contextmanager
    def restarted_with(self, service: str, **environment: str) -> Iterator[None]:
        """Kill it; whatever starts it again gives it these settings as well, until the end."""
        own = self.process(service).environment
        before = {name: own.get(name) for name in environment}
        own.update(environment)
        try:
            self.process(service).kill()
            yield
        finally:
            for name, value in before.items():
                own.pop(name) if value is None else own.__setitem__(name, value)

    def process(self, name: str) -> ManagedProcess:
        return self.system.supervisor.process(name)

    def note(self, text: str) -> None:
        self.notes.append(text)

    def metrics(self, service: str) -> dict[str, float]:
        """Its samples of now; empty where it doesn't answer."""
        return metrics_of(self.system.supervisor.service(service).metrics_port)

    async def killed(self, service: str) -> None:
        """Kill it, and wait until it is started again."""
        pid = self.process(service).pid
        self.process(service).kill()
        await self.started_again(service, pid)

    async def started_again(self, service: str, pid: int) -> None:
        """Wait for a process of the service that isn't `pid`."""
        process = self.process(service)
        await self.until(lambda: process.running and process.pid != pid, f"{service} to be started again")

    async def works(self) -> None:
        """Wait until decisions go on."""
        await self.log.grows(DECISIONS.name, PROGRESS)

    async def in_sync(self) -> None:
        """Wait until every partition has all its copies in sync, as whoever takes brokers away one by one has to: with
        the last copy that has everything the partition itself is gone, until that one is back."""

        async def whole() -> bool:
            with contextlib.suppress(KafkaError):
                async with admin_client(self.system.kafka) as admin:
                    topics = await admin.describe_topics()
                return all(
                    set(each["isr"]) == set(each["replicas"]) for topic in topics for each in topic["partitions"]
                )
            return False

        await until(whole, "all copies of all partitions to be in sync", PATIENCE_SECONDS)

    async def wait(self, low_s: float, high_s: float) -> None:
        """A time drawn by the seed: how long a fault lasts, or the point that it hits."""
        await asyncio.sleep(self.dice.uniform(low_s, high_s))

    async def until(self, done: Callable[[], bool], what: str, patience_s: float = PATIENCE_SECONDS) -> None:
        async def reached() -> bool:
            return await asyncio.to_thread(done)

        await until(reached, what, patience_s)

    def extra(self, service: str, name: str, *arguments: str, **environment: str) -> Extra:
        """Another process of a service, beside the one that is kept running; not started yet."""
        (port, http) = free_ports(2)
        own = {"KAFKA__GROUP_INSTANCE_ID": name, "SCORER__HTTP_PORT": str(http), **environment}
        described = Service(service, port, arguments, environment=own)
        process = ManagedProcess(
            f"{service}-{name}",
            described.command,
            log_file=self.data_dir / "logs" / f"{service}-{name}.log",
            environment=described.full_environment(self.system.supervisor.environment),
            stop_timeout=GRACE_S,
        )
        return Extra(described, process)

    async def records(self, topic: str) -> AsyncIterator[ConsumerRecord]:
        """All that lie there when this begins."""
        async with self.reader() as reader:
            async for record in reader.read(await reader.ends(topic)):
                yield record

    def reader(self) -> LogReader:
        """Past the proxy; not started yet."""
        return LogReader({"bootstrap_servers": self.system.stack.kafka.bootstrap_servers})

    async def produce(self, topic: str, records: Sequence[tuple[bytes, bytes | None]]) -> None:
        """(key, value) onto a topic, as an outside producer would."""
        await self.send(topic, [Message(key, value) for key, value in records])

    async def send(self, topic: str, messages: Sequence[Message]) -> list[tuple[int, int]]:
        """Partition and offset of each."""
        async with self.producer() as producer:
            return await self.hand_over(producer, topic, messages)

    @asynccontextmanager
    async def producer(self) -> AsyncIterator[AIOKafkaProducer]:
        """An outside one, past the proxy."""
        producer = AIOKafkaProducer(bootstrap_servers=self.system.stack.kafka.bootstrap_servers, acks="all")
        await producer.start()
        try:
            yield producer
        finally:
            await producer.stop()

    async def hand_over(
        self, producer: AIOKafkaProducer, topic: str, messages: Sequence[Message]
    ) -> list[tuple[int, int]]:
        """Partition and offset of each, once all are acknowledged."""
        partitions = self.system.kafka.partitions
        sent = [
            await producer.send(
                topic,
                message.value,
                key=message.key,
                partition=partition_of(message.key or b"", partitions) if message.place is None else message.place,
                headers=list(message.headers),
            )
            for message in messages
        ]
        return [(place.partition, place.offset) for place in await asyncio.gather(*sent)]

    def purchases(self, prefix: str, count: int, **changes: Any) -> list[tuple[bytes, bytes | None]]:
        """Good purchases of an outside producer, with ids of their own."""
        now_us = int(time.time() * 1_000_000)
        made: list[tuple[bytes, bytes | None]] = []
        for number in range(count):
            customer = f"{prefix}-{number % 20}"
            body = factories.transaction(
                number, t_us=now_us - (count - number) * 1000, event_id=f"{prefix}-{number}", customer_id=customer,
                **changes,
            )  # fmt: skip
            made.append((customer.encode(), json.dumps(body).encode()))
        return made
