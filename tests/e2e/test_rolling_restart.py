"""Every service is restarted in turn under load, as a deployment does it: no call fails, and the ledger balances."""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import httpx
import pytest

from deploy.local.ports import free_ports
from deploy.local.processes import ManagedProcess
from deploy.local.services import Service, status_of
from shared.contracts.topics import DECISIONS
from shared.model_artifact.registry import ModelRegistry
from tests import factories
from tests.e2e.system import Log, System, until
from tests.unit.scorer.parts import register

SERVICES = ("simulator", "features", "scorer", "sink", "ingestor")
PROGRESS = 100
"""Decisions that have to follow a restart before the next one."""
GRACE_S = 30
"""What an orchestrator gives a process before it kills it."""


@dataclass
class Scorer:
    """One of the two behind the checkouts' way."""

    name: str
    http: str
    operations_port: int
    ready: bool = True


@dataclass
class Balancer:
    """Round robin over those that say they are ready; a call that fails is not made again."""

    scorers: Sequence[Scorer]
    answers: Counter[str] = field(default_factory=Counter)
    degraded: Counter[str] = field(default_factory=Counter)
    """Why a fallback decided."""
    took_s: list[float] = field(default_factory=list)
    sent: int = 0
    over: asyncio.Event = field(default_factory=asyncio.Event)

    async def look(self) -> None:
        """As a load balancer does, some times a second."""
        while True:
            for scorer in self.scorers:
                scorer.ready = await asyncio.to_thread(status_of, scorer.operations_port, "/ready") == 200
            await asyncio.sleep(0.1)

    async def call(self, http: httpx.AsyncClient, number: int) -> None:
        ready = [scorer for scorer in self.scorers if scorer.ready] or self.scorers
        scorer = ready[number % len(ready)]
        body = factories.transaction(
            number,
            t_us=int(time.time() * 1_000_000),
            event_id=f"checkout-{number}",
            customer_id=f"checkout-{number % 50}",
        )
        try:
            began = time.monotonic()
            answer = await http.post(f"{scorer.http}/v1/decisions", json=body)
            self.took_s.append(time.monotonic() - began)
            if answer.is_success and (reason := answer.json()["degraded"]) is not None:
                self.degraded[reason] += 1
            why = "" if answer.is_success else f" {answer.text[:200]}"
            self.answers[f"{answer.status_code}{why}"] += 1
        except httpx.HTTPError as error:
            self.answers[f"{scorer.name}: {type(error).__name__}"] += 1

    async def load(self, per_second: int) -> None:
        """Calls at a steady pace, whatever the answers, until it is over; returns once each has ended."""
        async with httpx.AsyncClient(timeout=30) as http, asyncio.TaskGroup() as calls:
            began = time.monotonic()
            while not self.over.is_set():
                calls.create_task(self.call(http, self.sent))
                self.sent += 1
                await asyncio.sleep(max(0.0, began + self.sent / per_second - time.monotonic()))


@asynccontextmanager
async def under_load(balancer: Balancer, per_second: int) -> AsyncIterator[None]:
    looking, loading = asyncio.create_task(balancer.look()), asyncio.create_task(balancer.load(per_second))
    try:
        yield
    finally:
        balancer.over.set()
        try:
            await loading  # what ended it early is the test's to know
        finally:
            looking.cancel()
            await asyncio.gather(looking, return_exceptions=True)


def second_scorer(system: System) -> tuple[ManagedProcess, Scorer]:
    port, http = free_ports(2)
    mine = {"KAFKA__GROUP_INSTANCE_ID": "second", "SCORER__HTTP_PORT": str(http)}
    service = Service("scorer", port, environment=mine)
    process = ManagedProcess(
        "scorer-second",
        service.command,
        log_file=system.data_dir / "logs" / "scorer-second.log",
        environment=service.full_environment(system.supervisor.environment) | mine,
        stop_timeout=GRACE_S,
    )
    return process, Scorer("second", f"http://127.0.0.1:{http}", port)


PATIENT = {
    "SCORER__PUBLISH_TIMEOUT_MS": "20000",
    "SCORER__DEADLINE_MS": "60000",
    "SCORER__ANSWER_WITHIN_MS": "5000",
}
"""A test machine on which two systems run is no overload of this one."""
AS_SHIPPED = {"SCORER__ANSWER_WITHIN_MS": "1000"}
"""But for when a crowd is turned away: two cores on which everything runs, and one service is starting, let even a few
calls wait for a tenth of a second."""
SLOWEST_S = 5.0
"""Of a call, with the deadline that the scorer has where nothing is said."""
LEAST_SHARE = 0.5
"""Of the purchases that the rate would bring: while its ingestor is restarted a source brings none."""


@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    ("events", "calls", "limits"),
    [
        pytest.param(100, 20, PATIENT, id="gently"),
        pytest.param(300, 50, AS_SHIPPED, id="at full rate", marks=pytest.mark.slow),
    ],
)
async def test_a_rolling_restart_fails_no_call_and_loses_no_event(
    tmp_path: Path, events: int, calls: int, limits: dict[str, str]
) -> None:
    settings = {"INGESTOR__RATE": str(events), "SCORER__DRAIN_SECONDS": "2", **limits}
    registry = ModelRegistry(str(tmp_path / "models"))
    registry.promote(register(registry), "test")
    with System(tmp_path, SERVICES, settings) as system:
        log = Log(system.stack.kafka.bootstrap_servers)
        other, second = second_scorer(system)
        other.start()
        first = Scorer("first", system.http, system.supervisor.service("scorer").metrics_port)
        balancer = Balancer([first, second])
        try:
            await until(partial(_answers, second.operations_port), "the second scorer to be ready")
            async with under_load(balancer, calls):
                await log.grows(DECISIONS.name, PROGRESS)
                began, before = time.monotonic(), await log.count(DECISIONS.name)
                await _restart(other, second.operations_port, supervised=False)
                for name in ("scorer", "features", "sink", "ingestor"):
                    process = system.supervisor.process(name)
                    await _restart(process, system.supervisor.service(name).metrics_port, supervised=True)
                    await log.grows(DECISIONS.name, PROGRESS)
                decided = await log.count(DECISIONS.name) - before
                took_s = time.monotonic() - began
            system.supervisor.retire("ingestor")
            report = await asyncio.to_thread(system.ledger)
        finally:
            await asyncio.to_thread(other.stop)
    assert set(balancer.answers) == {"200"}, balancer.answers
    assert balancer.answers.total() == balancer.sent
    assert balancer.answers["200"] >= 10 * calls
    assert not balancer.degraded, "a restart takes nothing away that a decision needs"
    slowest = sorted(balancer.took_s)
    print(
        f"{decided:,} decisions in {took_s:.0f} s; {balancer.sent:,} calls, "
        f"p99 {slowest[int(0.99 * len(slowest))] * 1000:.0f} ms, the slowest {slowest[-1] * 1000:.0f} ms"
    )
    if limits is not PATIENT:
        assert slowest[-1] < SLOWEST_S
        assert decided >= LEAST_SHARE * events * took_s
    assert report["balanced"], json.dumps(report["invariants"], indent=1)
    assert report["lag"] == {}


async def _restart(process: ManagedProcess, port: int, *, supervised: bool) -> None:
    """SIGTERM; it has to end by itself, in order and in time, and to be back before the next one's turn."""
    before, began = process.pid, time.monotonic()
    await asyncio.to_thread(process.stop)
    assert process.exit_code == 0, f"{process.name} ended with {process.exit_code}"
    assert time.monotonic() - began < GRACE_S
    if not supervised:
        process.start()

    async def is_back() -> bool:
        return process.running and process.pid != before and await _answers(port)

    await until(is_back, f"{process.name} to be back")


async def _answers(port: int) -> bool:
    return await asyncio.to_thread(status_of, port, "/ready") == 200
