"""The system under load that faults are put into, and what can be told of it."""

from __future__ import annotations

import asyncio
import json
import os
import random
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

from aiokafka import AIOKafkaProducer

from deploy.local.bigquery import BigQuery
from deploy.local.ports import free_ports
from deploy.local.processes import ManagedProcess
from deploy.local.services import Service
from shared.contracts.identity import partition_of
from shared.contracts.topics import DECISIONS
from shared.model_artifact.registry import ModelRegistry
from tests import factories
from tests.chaos.proxy import Proxy
from tests.e2e.system import Log, System, until
from tests.unit.scorer.parts import register

RATE = 100
"""Purchases a second of the steady load."""

PROGRESS = 60
"""Decisions that have to follow for the system to count as working."""

CONTROLS_FOLDER = Path(__file__).with_name("controls")

SERVICES = ("simulator", "features", "scorer", "sink", "ingestor")


class World:
    """One system with a model in service, a steady stream, and proxies in front of Valkey and the warehouse."""

    def __init__(self, data_dir: Path, seed: int, settings: dict[str, str] | None = None, *, brokers: int = 1) -> None:
        self.dice = random.Random(seed)
        self.data_dir = data_dir
        registry = ModelRegistry(str(data_dir / "models"))
        self.model = register(registry)
        registry.promote(self.model, "chaos")
        self.registry = registry
        own = {"INGESTOR__RATE": str(RATE), "PYTHONPATH": f"{CONTROLS_FOLDER}:{Path.cwd()}"}
        self.system = System(data_dir, SERVICES, own | (settings or {}), brokers=brokers)
        stack = self.system.stack
        self.warehouse_trouble = data_dir / "warehouse-trouble"
        stack.bigquery = self._faulty(stack.bigquery)
        redis_port = urlsplit(stack.valkey.url).port or 0
        grpc_port = int(stack.bigquery.grpc_endpoint.rpartition(":")[2])
        ports = free_ports(2)
        self.redis_link = Proxy(ports[0], redis_port)
        self.warehouse_link = Proxy(ports[1], grpc_port)
        self.system.settings["REDIS__URL"] = f"redis://127.0.0.1:{ports[0]}/0"
        self.system.settings["BIGQUERY__GRPC_ENDPOINT"] = f"127.0.0.1:{ports[1]}"

    def __enter__(self) -> Self:
        self.redis_link.__enter__()
        self.warehouse_link.__enter__()
        self.system.__enter__()
        self.log = Log(self.system.stack.kafka.bootstrap_servers)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.system.__exit__(kind, error, trace)
        self.redis_link.__exit__()
        self.warehouse_link.__exit__()

    def _faulty(self, healthy: BigQuery) -> BigQuery:
        """The same with a launcher that answers with errors while the file of its trouble exists."""
        rest, grpc = (int(door.rpartition(":")[2]) for door in (healthy.rest_endpoint, healthy.grpc_endpoint))
        environment = {**os.environ, "TROUBLE_FILE": str(self.warehouse_trouble)}
        program = (sys.executable, "-m", "tests.chaos.faulty_emulator")
        return BigQuery(self.data_dir / "stack" / "bigquery", rest, grpc, program=program, environment=environment)

    @contextmanager
    def restarted_with(self, service: str, **environment: str) -> Iterator[None]:
        """Kill it; whatever starts it again gives it these settings as well, until the end."""
        own = self.process(service).environment
        before = {name: own.get(name) for name in environment}
        own.update(environment)
        try:
            yield
        finally:
            for name, value in before.items():
                own.pop(name) if value is None else own.__setitem__(name, value)

    def process(self, name: str) -> ManagedProcess:
        return self.system.supervisor.process(name)

    async def works(self) -> None:
        """Wait until decisions go on."""
        await self.log.grows(DECISIONS.name, PROGRESS)

    async def wait(self, low_s: float, high_s: float) -> None:
        """A time drawn by the seed: how long a fault lasts, or the point that it hits."""
        await asyncio.sleep(self.dice.uniform(low_s, high_s))

    async def until(self, done: Callable[[], bool], what: str) -> None:
        async def reached() -> bool:
            return done()

        await until(reached, what)

    def extra(self, service: str, name: str) -> ManagedProcess:
        """Another process of a service, beside the one that is kept running; not started yet."""
        (port, http) = free_ports(2)
        environment = {"KAFKA__GROUP_INSTANCE_ID": name, "SCORER__HTTP_PORT": str(http)}
        whole = Service(service, port, environment=environment).full_environment(self.system.supervisor.environment)
        return ManagedProcess(
            f"{service}-{name}",
            Service(service, port).command,
            log_file=self.data_dir / "logs" / f"{service}-{name}.log",
            environment=whole | environment,
            stop_timeout=20,
        )

    async def produce(
        self, topic: str, records: list[tuple[bytes, bytes | None]], headers: list[tuple[str, bytes]] | None = None
    ) -> None:
        """(key, value) onto a topic, as an outside producer would."""
        producer = AIOKafkaProducer(bootstrap_servers=self.system.stack.kafka.bootstrap_servers, acks="all")
        await producer.start()
        try:
            sent = [
                await producer.send(
                    topic, value, key=key, partition=partition_of(key, self.system.kafka.partitions), headers=headers
                )
                for key, value in records
            ]
            await asyncio.gather(*sent)
        finally:
            await producer.stop()

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
