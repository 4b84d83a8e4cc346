from __future__ import annotations

import threading
from pathlib import Path
from typing import Any, cast

import msgspec
import pyarrow
import pytest
from structlog.testing import capture_logs

from services.trainer import metrics
from services.trainer.experiments.exposures import Exposures, window
from services.trainer.experiments.guarding import STOPPED_BY, Guard
from services.trainer.warehouse import Evaluation, Warehouse, WarehouseUnavailable
from shared.alerts import Alerts, AlertsSettings
from shared.contracts.identity import epoch_micros
from shared.experiments import Arm, Candidacy, Experiment, Stage, Step, Stricter, Trials, canary_name
from shared.model_artifact.registry import ModelRegistry
from shared.warehouse import tables
from tests.unit.scorer.parts import register
from tests.unit.trainer.experiments.traffic import LIMITS, Behaviour, traffic

STARTED = "2026-06-01T12:00:00.000000Z"
LATER_US = epoch_micros("2026-06-01T13:00:00.000000Z")


class WarehouseOf:
    """A warehouse that holds these decisions, from one look to the next some more of them."""

    project = "test"

    def __init__(self, exposures: Exposures, step: int) -> None:
        self.exposures, self.step, self.seen = exposures, step, 0
        self.evaluations: list[Evaluation] = []
        self.away = self.read_only = False
        self.asked: list[str] = []

    def watched_until(self, as_of_us: int) -> int:
        return as_of_us

    def rows(self, sql: str) -> pyarrow.Table:
        if self.away:
            raise WarehouseUnavailable("away")
        self.asked.append(sql)
        if "earliest" in sql.splitlines()[0]:
            return pyarrow.table({"earliest": [epoch_micros(STARTED)]})
        self.seen = min(self.seen + self.step, len(self.exposures))
        e = self.exposures.take(slice(0, self.seen))  # type: ignore[arg-type]
        return pyarrow.table({
            "event_id": [f"e{i}" for i in range(len(e))],
            "customer_id": e.customer_id.tolist(),
            "variant": e.arm.tolist(),
            "decision": e.decision.tolist(),
            "declined": e.declined.tolist(),
            "own": e.own.tolist(),
            "lent": e.lent.tolist(),
            "shadow": e.shadow.tolist(),
            "degraded": [None] * len(e),
            "model_version": e.model_version.tolist(),
            "probability": e.probability.tolist(),
            "decided_us": e.decided_us.tolist(),
            "latency_us": [int(each * 1e6) for each in e.latency_s],
            "occurred_us": [epoch_micros(STARTED)] * len(e),
            "plan_days": [0] * len(e),
            "currency": ["USD"] * len(e),
            "amount": e.amount.tolist(),
            "age_bracket": [None if i % 7 == 0 else each for i, each in enumerate(e.age_bracket)],
            "state": e.state.tolist(),
            "defaulted": [bool(each) for each in e.defaulted],
            "observed_us": [epoch_micros(STARTED)] * len(e),
            "source": ["simtom"] * len(e),
        })  # fmt: skip

    def append_evaluation(self, row: Evaluation) -> None:
        if self.read_only:
            raise WarehouseUnavailable("away")
        self.evaluations.append(row)


@pytest.fixture
def registry(tmp_path: Path) -> ModelRegistry:
    return ModelRegistry(str(tmp_path / "models"))


def begun(registry: ModelRegistry, salt: str = "salt") -> Experiment:
    trial = Experiment("trial", salt, [Arm("canary", 0.5, register(registry, intercept=1.0))], STARTED, "test")
    registry.change_trials(lambda before: Trials(before.shadow, trial))
    return trial


def bad(experiment: Experiment) -> WarehouseOf:
    return WarehouseOf(traffic(experiment, 400, 1, {"canary": Behaviour(declines=0.95)}), step=20)


TOLD = Alerts(AlertsSettings(), "trainer")
"""To the log alone."""


def guard(warehouse: WarehouseOf, registry: ModelRegistry, now_us: int = LATER_US) -> Guard:
    return Guard(cast(Warehouse, warehouse), registry, LIMITS, TOLD, settle_s=10.0, now=lambda: now_us)


def test_a_bad_challenger_is_stopped_recorded_and_told_of_without_a_person(registry: ModelRegistry) -> None:
    shadow = register(registry, intercept=-1.0)
    registry.change_trials(lambda _: Trials([shadow]))
    trial = begun(registry)
    warehouse = bad(trial)
    before = metrics.EXPERIMENTS_STOPPED.labels("decline-rate")._value.get()
    with capture_logs() as lines:
        looks = [guard(warehouse, registry).look() for _ in range(6)]
    assert [look.stopped for look in looks].count(True) == 1
    stopped = next(look for look in looks if look.stopped)
    assert stopped.decisions <= 60
    assert looks[-1].experiment is None
    assert registry.trials() == Trials([shadow])
    [ended] = registry.ended_experiments("trial")
    assert (ended.experiment, ended.by) == (trial, STOPPED_BY)
    assert "decline-rate of canary: declined: " in ended.why
    [row] = warehouse.evaluations
    assert (row.model_version, row.kind, row.family) == (trial.arms[0].model_version, "guardrail", "logistic")
    assert row.detail is not None
    assert row.detail["reasons"] == stopped.reasons
    assert row.metrics["decline-rate evidence"] >= row.metrics["decline-rate needed"]
    assert metrics.EXPERIMENTS_STOPPED.labels("decline-rate")._value.get() == before + 1
    assert [line["event"] for line in lines] == ["experiment_stopped", "alert"]
    assert stopped.reasons[0] in str(lines[-1]), "people are told, wherever alerts go"


def test_a_canary_that_declines_as_many_as_it_was_let_in_for_is_left_alone(registry: ModelRegistry) -> None:
    candidate, champion = register(registry, intercept=1.0), register(registry, intercept=-1.0)
    trial = Experiment(canary_name(candidate), "salt", [Arm("canary", 0.5, candidate)], STARTED, "ladder")
    step = Step(Stage.CANARY, STARTED, "ladder", [])
    climbing = Candidacy(candidate, champion, STARTED, [step], canary=trial.started_at, stricter=Stricter(0.95, 0.95))
    registry.change_trials(lambda _: Trials([candidate], trial, climbing))
    warehouse = WarehouseOf(traffic(trial, 400, 1, {"canary": Behaviour(declines=0.95)}), step=400)
    assert not guard(warehouse, registry).look().broken
    # Only its own: of an experiment that a person has begun nothing was accepted.
    other = msgspec.structs.replace(climbing, canary="2026-01-01T00:00:00.000000Z")
    registry.change_trials(lambda before: msgspec.structs.replace(before, candidacy=other))
    assert guard(warehouse, registry).look().stopped


def test_a_harmless_one_goes_on_and_its_evidence_is_shown(registry: ModelRegistry) -> None:
    trial = begun(registry)
    watching = guard(WarehouseOf(traffic(trial, 400, 1), step=50), registry)
    for _ in range(8):
        assert not watching.look().stopped
    assert registry.trials().experiment == trial
    shown = {
        tuple(sample.labels.values()) for metric in metrics.EXPERIMENT_EVIDENCE.collect() for sample in metric.samples
    }
    assert ("trial", "canary", "latency") in shown


def test_an_experiment_that_was_replaced_meanwhile_is_left_alone(registry: ModelRegistry) -> None:
    trial = begun(registry)
    warehouse = bad(trial)
    warehouse.step = 400
    asked = warehouse.rows

    def rows(sql: str) -> Any:
        begun(registry, "another")  # somebody starts the next one between look and stop
        return asked(sql)

    warehouse.rows = rows  # type: ignore[method-assign]
    look = guard(warehouse, registry).look()
    assert (bool(look.broken), look.stopped) == (True, False)
    running = registry.trials().experiment
    assert running is not None
    assert running.salt == "another"
    assert warehouse.evaluations == []


def test_a_champion_that_came_meanwhile_is_not_judged_by_the_one_before(registry: ModelRegistry) -> None:
    trial = begun(registry)
    registry.promote(register(registry, intercept=-3.0), "test")
    pointer = registry.pointer("current")
    assert pointer is not None
    promoted_us = epoch_micros(pointer.promoted_at)
    assert promoted_us > epoch_micros(STARTED)
    warehouse = bad(trial)
    guard(warehouse, registry, now_us=promoted_us + 10_000_000).look()
    assert warehouse.asked == [], "nothing was decided beside it yet"
    guard(warehouse, registry, now_us=promoted_us + 3_600_000_000).look()
    assert f"TIMESTAMP_MICROS({promoted_us + 10_000_000})" in warehouse.asked[0]


def test_decisions_from_before_the_scorers_knew_of_it_are_not_asked_for(registry: ModelRegistry) -> None:
    trial = begun(registry)
    warehouse = WarehouseOf(traffic(trial, 10, 1), step=10)
    guard(warehouse, registry, now_us=window(trial, 10.0)).look()
    assert warehouse.asked == []
    guard(warehouse, registry).look()
    assert f"TIMESTAMP_MICROS({epoch_micros(STARTED) + 10_000_000})" in warehouse.asked[0]
    assert tables.DECISIONS.id in warehouse.asked[0]
    assert "TIMESTAMP_MICROS" in warehouse.asked[1]


def test_where_the_record_cannot_be_written_the_experiment_is_stopped_all_the_same(registry: ModelRegistry) -> None:
    warehouse = bad(begun(registry))
    warehouse.step, warehouse.read_only = 400, True
    with capture_logs() as lines:
        assert guard(warehouse, registry).look().stopped
    assert registry.trials().experiment is None
    assert [line["event"] for line in lines] == ["experiment_stopped", "alert", "record_not_written"]


def test_the_watch_outlives_a_warehouse_that_is_away_and_ends_when_told_to(registry: ModelRegistry) -> None:
    warehouse = bad(begun(registry))
    warehouse.away = True
    failed = metrics.GUARD_LOOKS.labels("failed")._value.get()
    waits = 0

    class Stop(threading.Event):
        def wait(self, timeout: float | None = None) -> bool:
            nonlocal waits
            waits += 1
            warehouse.away = waits < 3
            return registry.trials().experiment is None

    last = guard(warehouse, registry).watch(0.01, Stop())
    assert metrics.GUARD_LOOKS.labels("failed")._value.get() == failed + 3
    assert last.stopped
    assert last.decisions <= 60
