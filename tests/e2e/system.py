"""The whole system as processes on real parts, for tests that look at it from the outside."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from deploy.local.ports import free_ports
from deploy.local.services import Service
from deploy.local.stack import EmbeddedStack
from deploy.local.supervisor import Supervisor
from services.ledger.log_reader import LogReader
from shared.settings import KafkaSettings

PATIENCE_SECONDS = 120.0
POLL_SECONDS = 0.1
LONGEST_PAUSE_SECONDS = 1.0
"""Tests end processes on purpose, one time after the other: none of them is to be spared."""


class System:
    """Kafka, Valkey, BigQuery and the services, each restarted when it ends, as an orchestrator would."""

    def __init__(
        self, data_dir: Path, services: Sequence[str], settings: Mapping[str, str] | None = None, *, brokers: int = 1
    ) -> None:
        """`services`: names, of simulator, ingestor, features, scorer, sink. `settings`: beside the addresses."""
        self.data_dir = data_dir
        self.stack = EmbeddedStack(data_dir / "stack", brokers=brokers)
        ports = dict(zip(("http", "simtom", *services), free_ports(len(services) + 2), strict=True))
        self.http = f"http://127.0.0.1:{ports['http']}"
        self.settings = {
            "MODEL_REGISTRY__URI": str(data_dir / "models"),
            "SIMTOM__URL": f"http://127.0.0.1:{ports['simtom']}",
            "SIMTOM__CUSTOMER_SCOPE": "source",
            "SIMULATOR__PORT": str(ports["simtom"]),
            "SIMULATOR__HISTORY_DAY_PAUSE_SECONDS": "0",
            "SCORER__HTTP_PORT": str(ports["http"]),
            # A starved machine may take longer than a checkout would wait; these tests are not about the fallback.
            "SCORER__REDIS_TIMEOUT_MS": "5000",
            **(settings or {}),
        }
        self.services = [Service(name, ports[name]) for name in services]
        self._stopping = threading.Event()

    def __enter__(self) -> Self:
        self.stack.start()
        try:
            self.supervisor = Supervisor(
                self.stack, self.data_dir, self.settings, self.services, longest_pause=LONGEST_PAUSE_SECONDS
            )
            self.supervisor.prepare()
            self.supervisor.start()
        except BaseException:
            self.stack.stop()
            raise
        self._keeper = threading.Thread(target=self.supervisor.keep_running, args=(self._stopping,), daemon=True)
        self._keeper.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopping.set()
        self._keeper.join()
        self.supervisor.stop()
        self.stack.stop()

    @property
    def kafka(self) -> KafkaSettings:
        return KafkaSettings(bootstrap_servers=self.stack.kafka.bootstrap_servers)

    @property
    def environment(self) -> dict[str, str]:
        """For a process that is to talk to this system."""
        return {**os.environ, "PYTHONPATH": str(Path.cwd()), **self.supervisor.environment, "METRICS__PORT": "0"}

    def ledger(self, *, quiet: bool = False, patience: float = 300.0, settle: float | None = None) -> dict[str, Any]:
        """Audit the system; the report. `patience`: seconds that it may take; `settle`: that it waits for the services
        to catch up, a third of these where nothing is said."""
        report = self.data_dir / "ledger.json"
        report.unlink(missing_ok=True)  # an audit that fails must not pass for the one before it
        environment = {
            **self.environment,
            "LEDGER__REPORT": str(report),
            "LEDGER__SCORER_URL": self.http,
            "LEDGER__SETTLE_SECONDS": str(patience / 3 if settle is None else settle),
        }
        shown = subprocess.DEVNULL if quiet else None
        command = [sys.executable, "-m", "services.ledger"]
        subprocess.run(command, env=environment, check=False, timeout=patience, stdout=shown)
        found: dict[str, Any] = json.loads(report.read_text())
        return found

    def log_of(self, name: str) -> str:
        return (self.data_dir / "logs" / f"{name}.log").read_text(errors="replace")


class Log:
    """How many records a topic holds; connects anew after each failure, since brokers are killed in these tests."""

    def __init__(self, bootstrap_servers: str) -> None:
        self._bootstrap_servers = bootstrap_servers

    async def count(self, topic: str) -> int:
        async with LogReader({"bootstrap_servers": self._bootstrap_servers}) as reader:
            return sum((await reader.ends(topic)).values())

    async def grows(self, topic: str, by: int) -> None:
        """Wait until the topic has `by` more records than now."""
        target = await self.count(topic) + by

        async def grown() -> bool:
            return await self.count(topic) >= target

        await until(grown, f"{by} more records on {topic}")


async def until(done: Callable[[], Awaitable[bool]], what: str, patience: float = PATIENCE_SECONDS) -> None:
    """Wait for a condition; fail the test where it doesn't come about."""
    deadline = time.monotonic() + patience
    while not await done():
        assert time.monotonic() < deadline, f"waited {patience:.0f} s for {what}"
        await asyncio.sleep(POLL_SECONDS)
