"""A whole system on loopback for a load to meet: a booster in service, API keys, time limits as in production."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from deploy.local.progress import HistoryProgress
from deploy.monitoring.kept import Look, look
from services.ledger.log_reader import LogReader
from services.scorer.keys import Scope, new_key
from shared.contracts.topics import TRANSACTIONS
from tests.bench import booster
from tests.e2e.system import System, until
from tests.load.purchases import Purchase, Purchases

SERVICES = ("features", "scorer", "sink")
WARM_EVENTS, WARM_CALLS = 500, 100
"""Until connections are open, pages of the libraries loaded, and the JVM has compiled what it runs."""
SETTLE_S = 600.0
"""For a backlog of twenty thousand, whose rows the emulator takes at some hundreds a second."""
LEDGER_S = 1200.0
"""It reads everything: of fifty thousand purchases it takes half a minute."""


class LoadedSystem:
    """Use it as a context manager: it is warm when it is entered."""

    def __init__(
        self, folder: Path, settings: Mapping[str, str] | None = None, *, services: Sequence[str] = SERVICES
    ) -> None:
        """`settings`: beside those of a deployment."""
        self.folder = folder
        self.key, line = new_key("load", [Scope.DECIDE, Scope.READ])
        (folder / "keys").write_text(line + "\n")
        own = {
            "SCORER__API_KEYS_FILE": str(folder / "keys"),
            # As in a deployment; what tests wait for on a starved machine would hide an outage here.
            "SCORER__REDIS_TIMEOUT_MS": "50",
            # All load comes from one caller; the limit is counted all the same.
            "SCORER__RATE_PER_SECOND": "1000000",
            "SCORER__RATE_BURST": "1000000",
            "LEDGER__SCORER_KEY": self.key,
            **(settings or {}),
        }
        self.system = System(folder, services, own)
        self._running = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as running:
            booster.train(self.folder / "models")  # what decides costs what it costs in earnest
            running.enter_context(self.system)
            asyncio.run(self._warm())
            self._running = running.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._running.__exit__(kind, error, trace)

    @property
    def url(self) -> str:
        return self.system.http

    @property
    def kafka(self) -> str:
        return self.system.stack.kafka.bootstrap_servers

    @property
    def metrics(self) -> list[str]:
        """The addresses of all services'."""
        return [f"http://127.0.0.1:{service.metrics_port}/metrics" for service in self.system.services]

    def look(self) -> Look:
        return look(self.metrics)

    def ledger(self, *, quiet: bool = False, patience_s: float = LEDGER_S) -> dict[str, Any]:
        return self.system.ledger(quiet=quiet, patience=patience_s)

    def decided(self, client: httpx.Client, purchase: Purchase) -> bool:
        """Whether the model decided it, when it was asked over REST."""
        answer = client.post(
            f"{self.url}/v1/decisions",
            content=purchase.body,
            headers={"Authorization": f"Bearer {self.key}", "Content-Type": "application/json"},
        )
        return answer.status_code == httpx.codes.OK and answer.json()["degraded"] is None

    async def publish(self, made: Sequence[Purchase]) -> None:
        """As fast as the brokers take them; returns once all are acknowledged."""
        await self.produce(TRANSACTIONS.name, [(each.customer.encode(), each.body) for each in made])

    async def produce(self, topic: str, records: Sequence[tuple[bytes, bytes]]) -> None:
        """(key, value); returns once all are acknowledged."""
        async with AIOKafkaProducer(bootstrap_servers=self.kafka, enable_idempotence=True) as producer:
            sent = [await producer.send(topic, value, key=key) for key, value in records]
            await asyncio.gather(*sent)

    async def settled(self) -> None:
        """Wait until every service has taken in all that there is."""
        async with LogReader({"bootstrap_servers": self.kafka}) as reader:
            progress = HistoryProgress(reader, 0)

            async def nothing_under_way() -> bool:
                try:
                    await progress.update()
                except KafkaError:  # a group's coordinator that is still starting
                    return False
                return progress.settled

            await until(nothing_under_way, "the services to take in all that there is", SETTLE_S)

    async def _warm(self) -> None:
        made = Purchases()
        await self.publish(list(islice(made, WARM_EVENTS)))
        await self.settled()
        with httpx.Client(timeout=SETTLE_S) as client:
            deadline, left = time.monotonic() + SETTLE_S, WARM_CALLS
            while left:
                assert time.monotonic() < deadline, "the scorer still refuses checkouts, or its fallback decides them"
                left -= await asyncio.to_thread(self.decided, client, next(made))
        await self.settled()
