"""The real parts that benchmarks run on: Kafka, Valkey, the BigQuery emulator, and services and peers as processes."""

from __future__ import annotations

import asyncio
import itertools
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from pathlib import Path
from types import TracebackType
from typing import Self

import psutil
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from deploy.local.ports import free_ports
from deploy.local.processes import ManagedProcess
from deploy.local.services import Service
from deploy.local.stack import EmbeddedStack
from shared.contracts.topics import DEFAULT_PARTITIONS
from shared.kafka.admin import ensure_topics
from shared.kafka.connection import client_arguments
from shared.settings import BigQuerySettings, KafkaSettings
from tests.bench.flames import FLAMES
from tests.bench.http_peer import HttpPeer

READY_S = 600.0
"""For a process to get ready. A machine that is busy with other things is no reason to give a benchmark up."""

SHARE = float(os.environ.get("BENCH_SHARE", "1"))
"""Of the records that a round has: fewer, to try a benchmark."""


def sized(records: int) -> int:
    return max(200, int(records * SHARE))


def lasting(seconds: float) -> float:
    """Of load at a pace, in place of so many records."""
    return max(1.0, seconds * SHARE)


class Parts:
    """What a `with` block starts it stops, and throws its data away. Services find the parts and the models by their
    environment."""

    def __init__(self, settings: Mapping[str, str] | None = None, *, warehouse: bool = False) -> None:
        """`settings`: for every service. `warehouse`: with its tables."""
        self.folder = Path(tempfile.mkdtemp(prefix="flit-bench-"))
        self.stack = EmbeddedStack(self.folder / "stack")
        self.kafka = KafkaSettings(bootstrap_servers=self.stack.kafka.bootstrap_servers)
        self.models = self.folder / "models"
        self.environment = {
            **self.stack.environment(),
            "MODEL_REGISTRY__URI": str(self.models),
            "SCORER__HTTP_PORT": str(free_ports(1)[0]),
            **(settings or {}),
        }
        self._warehouse = warehouse
        self._numbers = itertools.count()
        self._running = ExitStack()

    @property
    def bigquery(self) -> BigQuerySettings:
        return self.stack.bigquery.settings

    def __enter__(self) -> Self:
        with ExitStack() as running:
            running.callback(shutil.rmtree, self.folder, ignore_errors=True)
            running.enter_context(self.stack)
            asyncio.run(_create(self.kafka))
            if self._warehouse:
                environment = {**os.environ, **self.environment}
                command = [sys.executable, "-m", "shared.warehouse", "create"]
                subprocess.run(command, env=environment, check=True, capture_output=True)
            self._running = running.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._running.__exit__(kind, error, trace)

    def service(self, name: str, *arguments: str, settings: Mapping[str, str] | None = None) -> Worker:
        """A service's process, which isn't started yet. Several of a service share its partitions."""
        (port,) = free_ports(1)
        # No static membership: who has stopped has left the group, and its partitions wait for nobody.
        own = {"KAFKA__GROUP_INSTANCE_ID": "", **(settings or {})}
        service = Service(name, port, arguments, own)
        environment = service.full_environment(self.environment)
        return Worker(self._process(f"{name}-{port}", service.command, environment), service.ready, port, name)

    def module(self, name: str, *arguments: str, python: str = sys.executable, says: str = "") -> Worker:
        """A program in tests/bench/peers. `python`: of its environment. `says`: what it prints once it is ready."""
        command = [python, "-m", f"tests.bench.peers.{name}", *arguments]
        environment = {**os.environ, "PYTHONPATH": str(Path.cwd()), "OMP_NUM_THREADS": "1", **self.environment}
        process = self._process(f"{name}-{next(self._numbers)}", command, environment)
        return Worker(process, lambda: says in process.log_file.read_text(errors="replace"))

    def peer(self, name: str, peer: HttpPeer) -> Worker:
        return Worker(self._process(name, peer.command, peer.environment), peer.ready)

    def _process(self, name: str, command: Sequence[str], environment: Mapping[str, str] | None) -> ManagedProcess:
        return ManagedProcess(name, command, log_file=self.folder / f"{name}.log", environment=environment)

    def create_topic(self, name: str) -> None:
        """With as many partitions as the others have."""
        asyncio.run(_create(self.kafka, name))


class Worker:
    """One process that is measured."""

    def __init__(self, process: ManagedProcess, ready: Callable[[], bool], port: int = 0, service: str = "") -> None:
        """`port`: of a service's metrics. `service`: its name, if it is one."""
        self.process, self.ready, self.port, self.service = process, ready, port, service

    @contextmanager
    def running(self) -> Iterator[Worker]:
        """Ready when the block begins. Raises StartFailed."""
        self.process.start()
        try:
            self.process.wait_until(self.ready, READY_S)
            with FLAMES.of(self.process.pid, self.service) if self.service else nullcontext():
                yield self
        finally:
            self.process.stop()

    @property
    def cpu_s(self) -> float:
        """Of all its threads, since its start."""
        return float(sum(psutil.Process(self.process.pid).cpu_times()[:2]))

    @property
    def resident_mb(self) -> float:
        return float(psutil.Process(self.process.pid).memory_info().rss) / 1e6


async def _create(kafka: KafkaSettings, name: str | None = None) -> None:
    """A topic; without a name, those of the contract."""
    if name is None:
        await ensure_topics(kafka)
        return
    admin = AIOKafkaAdminClient(**client_arguments(kafka))
    await admin.start()
    try:
        await admin.create_topics([NewTopic(name, DEFAULT_PARTITIONS, 1)])
    finally:
        await admin.close()
