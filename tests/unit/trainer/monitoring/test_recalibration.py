"""How far probabilities are believed, from outcomes that their model never learnt from."""

from __future__ import annotations

import numpy as np
import pytest

from services.trainer.evaluate import Economics, auc
from services.trainer.monitoring.lent import Lent
from services.trainer.monitoring.performance import Period, periods
from services.trainer.monitoring.recalibration import (
    AS_SERVED,
    MIN_DEFAULTS,
    NOTHING_KNOWN,
    Recalibration,
    Recalibrations,
    recalibrated,
)
from services.trainer.monitoring.state import performance_row
from shared.feature_definitions.windows import MICROS_PER_DAY
from shared.model_artifact.manifest import Calibration
from shared.warehouse import tables
from tests.unit.trainer.synthetic import said_and_outcomes

MODEL = "a" * 16
MONDAY = 19_996
TOO_SURE = 0.8
"""The slope of outcomes on the log-odds of a model that spread its probabilities too far."""


def said_and_believed(count: int, slope: float, seed: int) -> Calibration:
    said, label = said_and_outcomes(count, seed, slope)
    return recalibrated(MODEL, MONDAY, said, label, np.ones(count)).calibration


def lent(count: int, seed: int) -> Lent:
    """A month of such purchases, all matured."""
    said, label = said_and_outcomes(count, seed, TOO_SURE)
    return Lent(
        occurred_us=(MONDAY + np.arange(count) * 28 // count) * MICROS_PER_DAY,
        model_version=np.full(count, MODEL, object),
        probability=said,
        amount=np.full(count, 100.0),
        weight=np.ones(count),
        defaulted=label.astype(float),
        mature_us=(MONDAY + np.arange(count) * 28 // count + 56) * MICROS_PER_DAY,
    )


def month(some: Lent, recalibrations: Recalibrations) -> Period:
    start = MONDAY - MONDAY % 28
    found = periods(some, Economics(), start, MONDAY + 28, recalibrations)
    return max((each for each in found if each.kind == "four weeks"), key=lambda each: each.estimate.rows)


def test_a_model_that_is_too_sure_is_believed_less_the_more_is_known() -> None:
    few, some, many = (said_and_believed(count, TOO_SURE, seed=3).slope for count in (3_000, 40_000, 400_000))
    assert TOO_SURE - 0.02 < many < some < few < 1.0
    assert many == pytest.approx(TOO_SURE, abs=0.03)


def test_chance_hardly_moves_a_model_that_is_right() -> None:
    """Less than a free fit would be moved."""
    slopes = [said_and_believed(10_000, 1.0, seed).slope for seed in range(20)]
    assert np.mean(slopes) == pytest.approx(1.0, abs=0.03)
    assert max(abs(slope - 1.0) for slope in slopes) < 0.12


def test_a_level_that_moved_is_learnt_whole() -> None:
    said, _ = said_and_outcomes(50_000, seed=1)
    draws = np.random.default_rng(2)
    doubled = (draws.random(len(said)) < 2 * said).astype(np.int8)
    found = recalibrated(MODEL, MONDAY, said, doubled, np.ones(len(said))).calibration
    assert found.apply(said).mean() == pytest.approx(doubled.mean(), rel=0.02)


def test_rows_that_stand_for_many_tell_no_more_than_themselves() -> None:
    """All of weight ten: as if each were one."""
    said, label = said_and_outcomes(20_000, 4, TOO_SURE)
    once, tenfold = (recalibrated(MODEL, MONDAY, said, label, np.full(len(said), w)).calibration for w in (1.0, 10.0))
    assert (once.slope, once.intercept) == pytest.approx((tenfold.slope, tenfold.intercept), abs=1e-6)


@pytest.mark.parametrize("defaults", [0, MIN_DEFAULTS - 1])
def test_too_few_outcomes_say_nothing(defaults: int) -> None:
    said = np.full(500, 0.05)
    label = (np.arange(500) < defaults).astype(np.int8)
    found = recalibrated(MODEL, MONDAY, said, label, np.ones(500))
    assert found == Recalibration(MODEL, MONDAY, AS_SERVED, 500, defaults)


def test_no_outcome_at_all_says_nothing() -> None:
    nothing = np.zeros(0)
    assert recalibrated(MODEL, MONDAY, nothing, nothing.astype(np.int8), nothing).calibration == AS_SERVED


def test_what_came_to_light_later_is_not_known() -> None:
    early, late = Calibration(0.9, -0.1), Calibration(0.8, -0.2)
    known = Recalibrations.of(
        Recalibration(MODEL, day, each, 1000, 50) for day, each in ((MONDAY + 7, late), (MONDAY, early))
    )
    assert [known.known(MODEL, MONDAY + day) for day in (-1, 0, 6, 7, 700)] == [AS_SERVED, early, early, late, late]
    assert known.known("another", MONDAY) == AS_SERVED


def test_an_estimate_follows_what_is_believed_and_what_was_realized_does_not() -> None:
    some = lent(60_000, seed=5)
    believed = said_and_believed(100_000, TOO_SURE, seed=6)
    as_served = month(some, NOTHING_KNOWN)
    found = month(some, Recalibrations.of([Recalibration(MODEL, MONDAY, believed, 100_000, 5000)]))
    assert found.realized == as_served.realized
    assert found.realized is not None
    assert found.realized.auc == auc(some.defaulted.astype(np.int8), some.probability)
    assert as_served.error is not None
    assert found.error is not None
    assert as_served.error < -0.01
    assert abs(found.error) < 0.005
    log_loss = np.abs([each.estimate.log_loss.value - found.realized.log_loss for each in (found, as_served)])
    assert log_loss[0] < log_loss[1]


def test_the_row_of_a_period_says_what_was_believed() -> None:
    some, believed = lent(5_000, seed=7), Calibration(0.9, -0.3)
    row = performance_row(month(some, Recalibrations.of([Recalibration(MODEL, MONDAY, believed, 1000, 50)])))
    tables.MODEL_PERFORMANCE.check(row | {"evaluated_at": "now"})
    assert '"believed_slope":0.9,"believed_intercept":-0.3' in row["metrics"]
    assert "believed" not in performance_row(month(some, NOTHING_KNOWN))["metrics"]


def test_an_estimate_is_of_the_probabilities_as_served() -> None:
    """Twice as many default as is said: what is expected is the loss of what was said, not that of what is believed."""
    some = lent(5_000, seed=8)
    twice = Calibration(1.0, 0.7)
    found, served = (
        month(some, known).estimate
        for known in (Recalibrations.of([Recalibration(MODEL, MONDAY, twice, 1000, 50)]), NOTHING_KNOWN)
    )
    truth = twice.apply(some.probability)
    expected = -(truth * np.log(some.probability) + (1 - truth) * np.log1p(-some.probability)).mean()
    assert found.log_loss.value == pytest.approx(expected)
    assert found.default_rate.value == pytest.approx(truth.mean())
    assert found.profit_bp.value < served.profit_bp.value
