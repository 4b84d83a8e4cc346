"""Looks at the experiment that runs, and stops it where a guardrail is broken. Nobody has to be asked.

Guarantee: what is stopped is the experiment that was judged, and no other: it is taken out of the registry only if it
is still the one that runs there. Scorers follow within a second, and the champion decides for everybody. An experiment
is stopped first and recorded then: where the record can't be written, the registry still says when it ended, and why.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import msgspec
import structlog

from services.trainer import metrics
from services.trainer.experiments import exposures
from services.trainer.experiments.guardrails import Finding, judge
from services.trainer.experiments.limits import Limits
from services.trainer.rounds import until_stopped
from services.trainer.warehouse import Evaluation, Warehouse, WarehouseUnavailable
from shared.alerts import Alerts, Severity
from shared.contracts.identity import from_epoch_micros
from shared.experiments import CHAMPION, Experiment, Trials
from shared.model_artifact.manifest import ArtifactRefused
from shared.model_artifact.registry import ModelRegistry, PromotionConflict

log = structlog.get_logger()

STOPPED_BY = "guard"
RUNBOOK = "docs/operations/experiments.md#what-happens-then"


@dataclass(frozen=True)
class Look:
    experiment: Experiment | None
    findings: tuple[Finding, ...] = ()
    decisions: int = 0
    stopped: bool = False

    @property
    def broken(self) -> list[Finding]:
        return [finding for finding in self.findings if finding.broken]

    @property
    def reasons(self) -> list[str]:
        return [f"{finding.guardrail} of {finding.arm}: {finding.what}" for finding in self.broken]


class Guard:
    """`now`: the wall clock, in microseconds since 1970, by which decisions are timed."""

    def __init__(
        self,
        warehouse: Warehouse,
        registry: ModelRegistry,
        limits: Limits,
        alerts: Alerts,
        *,
        settle_s: float,
        now: Callable[[], int] = lambda: time.time_ns() // 1000,
    ) -> None:
        self._warehouse, self._registry, self._alerts = warehouse, registry, alerts
        self._limits, self._settle_s, self._now = limits, settle_s, now

    def look(self) -> Look:
        """One look. Raises WarehouseUnavailable, ArtifactRefused; nothing was stopped then."""
        trials = self._registry.trials()
        experiment = trials.experiment
        metrics.EXPERIMENT_EVIDENCE.clear()
        if experiment is None:
            return Look(None)
        since_us = exposures.window(experiment, self._settle_s, self._registry.pointer("current"))
        until_us = self._now()
        if until_us <= since_us:
            return Look(experiment)
        seen = exposures.read(self._warehouse, experiment, since_us, until_us)
        found = Look(experiment, tuple(judge(seen, experiment, self._limits_of(trials))), len(seen))
        for each in found.findings:
            share = max(0.0, each.evidence / each.needed)
            metrics.EXPERIMENT_EVIDENCE.labels(experiment.name, each.arm, each.guardrail).set(share)
        if not found.broken:
            return found
        if not self._stop(experiment, found.reasons):
            log.warning("experiment_gone", experiment=experiment.name, reasons=found.reasons)
            return found
        log.error(
            "experiment_stopped", experiment=experiment.name, by=STOPPED_BY, reasons=found.reasons, rows=len(seen)
        )
        title = f"experiment {experiment.name} stopped: its guardrails are broken"
        key = f"experiment {experiment.name} of {experiment.started_at}"
        self._alerts.send(title, found.reasons, severity=Severity.CRITICAL, key=key, runbook=RUNBOOK)
        for guardrail in {each.guardrail for each in found.broken}:
            metrics.EXPERIMENTS_STOPPED.labels(guardrail).inc()
        self._record(experiment, found, since_us, until_us)
        return replace(found, stopped=True)

    def watch(self, every_s: float, stop: threading.Event) -> Look:
        """Looks until told to stop, and gives the last look. What can't be read is tried again at the next."""
        away = (WarehouseUnavailable, ArtifactRefused, PromotionConflict, OSError)
        return until_stopped(
            self._counted, Look(None), every_s, stop, away=away, failures=metrics.GUARD_LOOKS, event="look_failed"
        )

    def _counted(self) -> Look:
        found = self.look()
        metrics.GUARD_LOOKS.labels("stopped" if found.stopped else "kept").inc()
        return found

    def _limits_of(self, trials: Trials) -> Limits:
        """Of a candidate's canary, beyond what it was let in as."""
        candidacy = trials.candidacy
        if candidacy is None or trials.canary_of(candidacy) is None:
            return self._limits
        return self._limits.beyond(candidacy.stricter)

    def _stop(self, judged: Experiment, reasons: list[str]) -> bool:
        """Whether it was still running, and no longer is."""
        stopped = False

        def change(before: Trials) -> Trials:
            nonlocal stopped
            stopped = before.experiment == judged
            return msgspec.structs.replace(before, experiment=None) if stopped else before

        self._registry.change_trials(change, by=STOPPED_BY, why="; ".join(reasons))
        return stopped

    def _record(self, experiment: Experiment, found: Look, since_us: int, until_us: int) -> None:
        """A row for each arm in `model_evaluations`."""
        for arm in experiment.arms:
            mine = [each for each in found.findings if each.arm in (arm.name, "all")]
            row = Evaluation(
                model_version=arm.model_version,
                family=self._registry.load(arm.model_version).manifest.family,
                kind="guardrail",
                window_from=from_epoch_micros(since_us),
                window_to=from_epoch_micros(until_us),
                rows=found.decisions,
                metrics={
                    f"{each.guardrail} {name}": getattr(each, name) for each in mine for name in ("evidence", "needed")
                },
                detail={
                    "experiment": experiment.name,
                    "started_at": experiment.started_at,
                    "arm": arm.name,
                    "beside": CHAMPION,
                    "reasons": found.reasons,
                    "stopped_at": from_epoch_micros(until_us),
                },
            )
            try:
                self._warehouse.append_evaluation(row)
            except WarehouseUnavailable as error:
                log.error("record_not_written", experiment=experiment.name, arms=[arm.name], reason=str(error))
