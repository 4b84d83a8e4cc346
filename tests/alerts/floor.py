"""A running system with everything beside it that alerts are about, and Prometheus that watches it."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import math
import shutil
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

import httpx

from deploy.local.ports import free_port
from deploy.local.processes import ManagedProcess
from deploy.monitoring.rules import alerting_rules, recording_rules
from shared.contracts.identity import canonical_time
from shared.experiments import Arm, Experiment, Trials
from shared.policy import DEFAULT_POLICY
from tests.alerts.rules import rules_of
from tests.alerts.shortened import shortened
from tests.alerts.timeline import FIRING, Rule, Timeline
from tests.chaos.proxy import Proxy
from tests.chaos.world import SERVICES, Extra, World
from tests.e2e.system import until
from tests.integration.trainer.monitored import Monitored, monitored
from tests.system.prometheus import Prometheus, prometheus
from tests.unit.scorer.parts import register

RATE = 30
"""Purchases a second of the stream: enough for each share to be one of more than a hundred within a minute."""
ASKERS, ASK_EVERY_S = 4, 0.4
"""Checkouts: some ten a second while all is well."""
FACTOR = 60.0
"""Hours become minutes. The shortest range is then of five seconds, in which Prometheus looks five times."""
START_S = 120.0
"""Of a process, on a machine that is busy with others."""
AUDIT_EVERY_S = 600.0
"""Where the rules are as they are."""
HALTING = {
    "FEATURES__REFUSALS_PER_MINUTE": "200",
    "FEATURES__MAX_REFUSED_SHARE": "0.2",
    "FEATURES__HALT_SECONDS": "5",
}
"""A topic is halted by fewer records, and tried again sooner, than by default."""


class Floor:
    """The system, the audits, the guard of an experiment, the monitor of models, checkouts, and Prometheus."""

    def __init__(self, folder: Path, *, factor: float = FACTOR, rate: int = RATE, whole: bool = True) -> None:
        """`whole`: with audits, guard and monitor, whose past takes a minute to make."""
        self.factor, self._whole, self._folder = factor, whole, folder
        self.policy_file = folder / "policy.yaml"
        shutil.copy(DEFAULT_POLICY, self.policy_file)
        settings = {"SCORER__POLICY_FILE": str(self.policy_file)} | (HALTING if factor > 1 else {})
        self.world = World(folder, 1, settings, rate=rate)
        self.world.model = self.trained_now(-2.1)
        self.world.registry.promote(self.world.model, "alerts")
        self.began = 0.0
        """When the fault began that is looked at."""
        self._lookers: dict[str, Extra] = {}
        self._running = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as running:
            running.enter_context(self.world)
            jobs = {name: self.world.system.supervisor.service(name).metrics_port for name in SERVICES}
            if self._whole:
                jobs |= self._beside(running)
            rules = {
                "recording.yml": shortened(recording_rules(), self.factor),
                "alerts.yml": shortened(alerting_rules(), self.factor),
            }
            every = "1s" if self.factor > 1 else "15s"
            watching = prometheus(self._folder / "prometheus", jobs, rules=rules, every=every)
            self.prometheus: Prometheus = running.enter_context(watching)
            self.timeline = running.enter_context(Timeline(self.prometheus.alerts))
            self._running = running.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._running.__exit__(kind, error, trace)

    def _beside(self, running: ExitStack) -> dict[str, int]:
        """Start who looks on, but for the audits. Job → metrics port."""
        stack = self.world.system.stack
        warehouse_s_port = int(urlsplit(stack.bigquery.rest_endpoint).port or 0)
        self.guard_s_link, self.monitor_s_link = (
            running.enter_context(Proxy(free_port(), warehouse_s_port)) for _ in range(2)
        )
        self.experiment()
        self.past: Monitored = monitored(
            stack.bigquery.settings.model_copy(update={"project": "flit-watched"}), self._folder / "watched", daily=150
        )
        every = f"{max(3.0, self.scaled(AUDIT_EVERY_S)):g}"
        report = {"LEDGER__REPORT": str(self._folder / "audit.json"), "LEDGER__SCORER_URL": ""}
        self.ledger = self.world.extra("ledger", "alerts", "--every", every, **report)
        guard = self.world.extra(
            "trainer", "guard", "guard", "--every", "1",
            BIGQUERY__REST_ENDPOINT=f"http://127.0.0.1:{self.guard_s_link.port}",
        )  # fmt: skip
        reads = self.past.environment | {"BIGQUERY__REST_ENDPOINT": f"http://127.0.0.1:{self.monitor_s_link.port}"}
        monitor = self.world.extra("trainer", "monitor", "monitor", "--every", "2", **reads)
        jobs = self._lookers = {"ledger": self.ledger, "guard": guard, "trainer": monitor}
        for extra in jobs.values():
            running.callback(extra.process.stop)
        guard.process.start()
        monitor.process.start()
        return {job: extra.service.metrics_port for job, extra in jobs.items()}

    def trained_now(self, intercept: float, *, trained_at: datetime | None = None) -> str:
        """A model of its own in the registry. `trained_at`: in place of now."""
        moment = canonical_time(trained_at or datetime.now(UTC))
        return register(self.world.registry, intercept=intercept, trained_at=moment)

    def experiment(self) -> None:
        """Begin one, whether or not the guard has stopped the one before."""
        arm = Arm("half", 0.5, self.trained_now(-2.2))
        trial = Experiment("alerts", "salt", [arm], canonical_time(datetime.now(UTC)), "alerts")
        self.world.registry.change_trials(lambda _: Trials(experiment=trial))

    @contextlib.contextmanager
    def running_with(self, service: str, **environment: str) -> Iterator[None]:
        """Started again with these settings as well; and without them in the end, whatever happened."""
        try:
            with self.world.restarted_with(service, **environment):
                yield
        finally:
            self.world.process(service).kill()

    def on_lookers(self) -> dict[str, bool]:
        """Which of those who look on are still there."""
        return {job: extra.process.running for job, extra in self._lookers.items()}

    def audit_age_s(self) -> float | None:
        """How long ago the last audit was finished; None: there was none."""
        return self._number("time() - max(flit_ledger_last_audit_timestamp_seconds)")

    def streamed(self, seconds: float) -> float:
        """How many purchases of the stream were decided in the last seconds, over all starts of the scorer. None that a
        checkout asked about, though its vector comes by as well."""
        decided = f'flit_decisions_total{{channel="stream"}}[{math.ceil(seconds)}s]'
        return self._number(f"sum(increase({decided}))") or 0.0

    def answered(self, seconds: float) -> float:
        """How many checkouts were answered with a decision in the last seconds, over all starts of the scorer."""
        answered = f'flit_scorer_checkouts_total{{status="200"}}[{math.ceil(seconds)}s]'
        return self._number(f"sum(increase({answered}))") or 0.0

    def _number(self, expression: str) -> float | None:
        """Of an expression with one value; None where there is none."""
        found = self.prometheus.query(expression)
        return float(found[0]["value"][1]) if found else None

    def resident_mb(self, *services: str) -> dict[str, float]:
        """What each holds in memory now; of one that doesn't answer nothing."""
        which = "|".join(services)
        found = self.prometheus.query(f'max by (job) (process_resident_memory_bytes{{job=~"{which}"}}) / 1e6')
        return {each["metric"]["job"]: float(each["value"][1]) for each in found}

    def scaled(self, seconds: float) -> float:
        """How long a time of the rules lasts here."""
        return seconds / self.factor

    async def fires(self, *alerts: str, patience_s: float = 120.0) -> None:
        """Wait until every rule of these alerts has fired since the fault began."""
        for alert in alerts:
            for rule in rules_of(alert):
                await self._until(rule, since=self.began, firing=True, patience_s=patience_s)

    async def clears(self, *alerts: str, since: float, patience_s: float = 120.0) -> None:
        for alert in alerts:
            for rule in rules_of(alert):
                await self.clears_rule(rule, since=since, patience_s=patience_s)

    async def clears_rule(self, rule: Rule, *, since: float, patience_s: float) -> None:
        await self._until(rule, since=since, firing=False, patience_s=patience_s)

    async def quiet(self, rules: Sequence[Rule], patience_s: float) -> None:
        """Wait until none of them fires."""

        async def reached() -> bool:
            return all(self.timeline.state(rule) != FIRING for rule in rules)

        await until(reached, f"{', '.join(sorted({rule.alert for rule in rules}))} to be quiet", patience_s)

    async def _until(self, rule: Rule, *, since: float, firing: bool, patience_s: float) -> None:
        async def reached() -> bool:
            return self.timeline.first(rule, since, firing=firing) is not None

        what = "fire" if firing else "clear"
        await until(reached, f"{rule.alert} ({rule.severity}) to {what}", patience_s)

    async def audited(self) -> None:
        """Wait until an audit has been seen, by audits that go on."""
        if not self.ledger.process.running:
            self.ledger.process.start()
        await self.world.until(
            lambda: bool(self.prometheus.query("flit_ledger_last_audit_timestamp_seconds > 0")), "an audit", START_S
        )

    async def ask(self) -> None:
        """Checkouts, until cancelled. What they are answered is Prometheus' to tell (`answered`)."""
        numbers = itertools.count()

        async def asker(client: httpx.AsyncClient) -> None:
            while True:
                name = f"asked-{next(numbers)}"
                ((_, body),) = self.world.purchases(name, 1)
                with contextlib.suppress(httpx.HTTPError):
                    await client.post("/v1/decisions", content=body, headers={"Content-Type": "application/json"})
                await asyncio.sleep(ASK_EVERY_S)

        async with httpx.AsyncClient(base_url=self.world.system.http, timeout=10) as client:
            await asyncio.gather(*(asker(client) for _ in range(ASKERS)))

    def command(self, module: str, *arguments: str) -> ManagedProcess:
        """A command of ours, to be run on this system."""
        return ManagedProcess(
            module, [sys.executable, "-m", module, *arguments], log_file=self._folder / "logs" / f"{module}.log",
            environment=self.world.system.environment,
        )  # fmt: skip


def now() -> float:
    return time.monotonic()


@contextlib.contextmanager
def refusing(link: Proxy) -> Iterator[None]:
    """Whoever is connected is cut off, and nobody gets in."""
    link.refuses = True
    link.cut()
    try:
        yield
    finally:
        link.heal()
