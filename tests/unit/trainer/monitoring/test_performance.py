"""Periods of realized and expected figures, and whether a model has lost what it promised."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

import numpy as np
import pytest
from structlog.testing import capture_logs

from services.simulator.request import RegimeChange
from services.trainer.evaluate import Economics, auc
from services.trainer.monitoring.lent import Lent
from services.trainer.monitoring.losses import CALIBRATION, RANKING, WEEKS, Loss, Promise, losses
from services.trainer.monitoring.monitor import PERFORMANCE_DAYS, kept_or_lost
from services.trainer.monitoring.performance import MIN_DEFAULTS, MONDAY, Period, estimate, periods
from services.trainer.monitoring.state import performance_row
from shared.feature_definitions.windows import MICROS_PER_DAY
from shared.model_artifact.manifest import logit, sigmoid
from shared.telemetry.log_fields import ALLOWED
from shared.warehouse import tables
from tests.unit.trainer.monitoring.streams import FIRST, days

ECONOMICS = Economics(0.03, 0.6)
SINCE = FIRST - FIRST % 28
"""Before the first purchase."""

PROMISE = Promise.of({"auc_low": 0.58, "auc_high": 0.62, "defaults": 1000.0})
"""Of a card that stands on twenty thousand purchases."""


def lent(
    count: int, daily: int, seed: int, *, known: int | None = None, changes: tuple[RegimeChange, ...] = ()
) -> Lent:
    """`count` days of the simulator's purchases, all lent, by a model that knows the law of before any change.
    Outcomes of the first `known` days have matured."""
    stream = list(days(daily, count, seed, changes=changes))
    day = np.concatenate([np.full(len(each), day - FIRST) for day, each, _, _ in stream])
    defaulted = np.concatenate([draw.defaulted for *_, draw in stream]).astype(float)
    occurred_us = np.concatenate([each.occurred_us for _, each, _, _ in stream])
    return Lent(
        occurred_us=occurred_us,
        model_version=np.full(len(day), "a" * 16, object),
        probability=np.concatenate([said for _, _, said, _ in stream]),
        amount=np.concatenate([draw.amount for *_, draw in stream]),
        weight=np.ones(len(day)),
        defaulted=np.where(day < (count if known is None else known), defaulted, np.nan),
        mature_us=occurred_us + 56 * MICROS_PER_DAY,
    )


def with_plans(some: Lent, which: np.ndarray, days: int) -> Lent:
    """These still run, and for so many days in all."""
    return replace(
        some,
        defaulted=np.where(which, np.nan, some.defaulted),
        mature_us=np.where(which, some.occurred_us + days * MICROS_PER_DAY, some.mature_us),
    )


@pytest.fixture(scope="module")
def steady() -> Lent:
    return lent(70, 400, seed=4)


def law_change(day: int, strength: float) -> RegimeChange:
    at = datetime(2026, 1, 1) + timedelta(days=day)  # noqa: DTZ001 - the simulator's times are naive
    return RegimeChange(at=at, kind="law", strength=strength)


def alarms(found: list[Loss]) -> set[str]:
    return {each.kind for each in found if each.alarm}


def test_every_loan_is_in_one_period_of_each_kind(steady: Lent) -> None:
    for kind in ("day", "week", "four weeks"):
        mine = [each for each in periods(steady, ECONOMICS, SINCE, FIRST + 70) if each.kind == kind]
        assert sum(each.estimate.rows for each in mine) == len(steady)
        assert all((each.first_day - MONDAY) % 7 == 0 for each in mine if kind == "week")


def test_a_period_that_began_before_what_was_read_is_left_alone(steady: Lent) -> None:
    """Else what was written of it while all of it was read would be followed by less."""
    since = FIRST + 37
    later = {(each.kind, each.first_day): each for each in periods(steady, ECONOMICS, since, FIRST + 70)}
    everything = {(each.kind, each.first_day): each for each in periods(steady, ECONOMICS, SINCE, FIRST + 70)}
    assert later == {key: each for key, each in everything.items() if key[1] >= since}
    assert {kind for kind, _ in later} == {"day", "week", "four weeks"}


def test_a_period_is_measured_on_its_own_purchases(steady: Lent) -> None:
    [week, *_] = [each for each in periods(steady, ECONOMICS, SINCE, FIRST + 70) if each.kind == "week"][2:]
    some = steady.between(week.first_day, week.end_day)
    assert week.realized is not None
    assert week.realized.auc == auc(some.defaulted.astype(int), some.probability)
    assert week.matured_share == 1


def test_expected_and_realized_auc_differ_by_no_more_than_chance_over_stable_months(steady: Lent) -> None:
    found = [each for each in periods(steady, ECONOMICS, SINCE, FIRST + 70) if each.kind == "four weeks"]
    whole = [each for each in found if each.estimate.rows > 8000]
    assert whole
    for each in whole:
        assert each.error is not None
        assert each.on_matured is not None
        assert abs(each.error) < 3 * each.on_matured.auc.error


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_over_stable_months_of_thousands_a_day_the_estimate_is_within_a_hundredth() -> None:
    """Of the AUC. By the toss alone the realized one would lie within 0.009 of it, 19 times in 20."""
    found = periods(lent(7 + 4 * 28, 3000, seed=14), ECONOMICS, SINCE, FIRST + 119)
    whole = [each for each in found if each.kind == "four weeks" and each.first_day >= FIRST][:-1]
    assert len(whole) >= 3
    for each in whole:
        assert each.error is not None
        assert each.on_matured is not None
        assert each.on_matured.auc.error < 0.005
        assert abs(each.error) < 0.01


def test_what_has_not_matured_is_estimated_and_never_counted_as_good(steady: Lent) -> None:
    day = (steady.occurred_us // MICROS_PER_DAY) - FIRST
    young = replace(steady, defaulted=np.where(day < 35, steady.defaulted, np.nan))
    by_week: dict[int, Period] = {
        each.first_day: each for each in periods(young, ECONOMICS, SINCE, FIRST + 70) if each.kind == "week"
    }
    last = by_week[max(by_week)]
    assert last.realized is None
    assert last.matured_share == 0
    assert last.estimate.auc.value == pytest.approx(0.6, abs=0.05)
    row = performance_row(last)
    assert "auc" not in row
    tables.MODEL_PERFORMANCE.check(row | {"evaluated_at": "now"})


def test_a_row_of_a_period_holds_both_sides(steady: Lent) -> None:
    [period, *_] = [each for each in periods(steady, ECONOMICS, SINCE, FIRST + 70) if each.kind == "four weeks"][1:]
    row = performance_row(period)
    tables.MODEL_PERFORMANCE.check(row | {"evaluated_at": "now"})
    assert period.realized is not None
    assert (row["auc"], row["rows"], row["lent"]) == (period.realized.auc, period.realized.rows, period.estimate.rows)
    assert row["estimated_auc"] == pytest.approx(row["auc"], abs=4 * row["estimated_auc_error"])


def test_too_few_defaults_have_no_figures(steady: Lent) -> None:
    worst = np.flatnonzero(steady.defaulted == 1)[: MIN_DEFAULTS - 1]
    few = steady.take(np.concatenate([worst, np.flatnonzero(steady.defaulted == 0)[:200]]))
    assert all(each.realized is None for each in periods(few, ECONOMICS, SINCE, FIRST + 70))


def test_two_versions_are_measured_apart(steady: Lent) -> None:
    halves = np.where(np.arange(len(steady)) % 2, "a" * 16, "b" * 16).astype(object)
    mixed = replace(steady, model_version=halves)
    found = [each for each in periods(mixed, ECONOMICS, SINCE, FIRST + 70) if each.kind == "week"]
    assert {each.model_version for each in found} == {"a" * 16, "b" * 16}
    assert sum(each.estimate.rows for each in found) == len(steady)


def test_a_model_that_keeps_its_promise_is_not_said_to_have_lost(steady: Lent) -> None:
    """Looked at each week, as it matures."""
    for until in range(FIRST + 14, FIRST + 71, 7):
        assert alarms(losses(steady.between(FIRST, until), PROMISE, until)) == set()


def test_what_a_model_turns_away_is_not_held_against_its_ranking(steady: Lent) -> None:
    """Among those it approves its AUC is lower than on its card, though it is as good as ever."""
    approved = steady.take(steady.probability < 0.05)
    everything, some = (estimate(each, ECONOMICS).auc.value for each in (steady, approved))
    assert some < everything - 0.02
    assert RANKING not in alarms(losses(approved, PROMISE, FIRST + 70))


def test_a_change_of_the_law_is_noticed_soon_after_its_purchases_have_matured() -> None:
    changed = 56
    stream = lent(changed + 28, 400, seed=8, changes=(law_change(changed, 1.0),))
    before, after = stream.between(FIRST, FIRST + changed), stream.between(FIRST, FIRST + changed + 14)
    assert alarms(losses(before, PROMISE, FIRST + changed)) == set()
    assert CALIBRATION in alarms(losses(after, PROMISE, FIRST + changed + 14))


def test_a_model_that_learnt_the_level_from_few_defaults_is_allowed_more() -> None:
    few, many = (Promise.of({"auc_low": 0.5, "auc_high": 0.7, "defaults": number}) for number in (100.0, 10_000.0))
    assert few.tolerance == pytest.approx(0.25)
    assert many.tolerance == pytest.approx(0.07)
    assert few.auc_error == pytest.approx(0.2 / 3.92, rel=1e-3)


def test_ranking_that_is_lost_is_noticed_though_the_level_is_right(steady: Lent) -> None:
    draws = np.random.default_rng(5)
    spread = sigmoid(2.5 * (logit(steady.probability) - logit(steady.probability).mean()) - 3.2)
    kept = replace(steady, probability=spread, defaulted=(draws.random(len(steady)) < spread).astype(float))
    lost = replace(kept, defaulted=draws.permutation(kept.defaulted))
    assert RANKING not in alarms(losses(kept, PROMISE, FIRST + 70))
    assert RANKING in alarms(losses(lost, PROMISE, FIRST + 70))


def test_ranking_waits_until_whole_weeks_have_matured(steady: Lent) -> None:
    day = (steady.occurred_us // MICROS_PER_DAY) - FIRST
    young = replace(steady, defaulted=np.where(day < 40, steady.defaulted, np.nan))
    ends = {each.end_day for each in losses(young, PROMISE, FIRST + 70) if each.kind == RANKING}
    assert ends
    assert max(ends) <= FIRST + 40


def test_a_loan_of_a_year_does_not_keep_the_ranking_of_all_others_from_being_tested(steady: Lent) -> None:
    one = with_plans(steady, np.arange(len(steady)) == 10, 360)
    tested = [
        [(each.first_day, each.end_day) for each in losses(some, PROMISE, FIRST + 70) if each.kind == RANKING]
        for some in (steady, one)
    ]
    assert tested[0] == tested[1] != []


def test_loans_that_nobody_waits_for_count_on_no_side_of_the_ranking(steady: Lent) -> None:
    """Not even those that are known: of these only the oldest are."""
    short = np.arange(len(steady)) % 2 == 0
    long = replace(steady, mature_us=np.where(short, steady.mature_us, steady.occurred_us + 120 * MICROS_PER_DAY))
    rows = [
        [each.rows for each in losses(some, PROMISE, FIRST + 70) if each.kind == RANKING]
        for some in (long, steady.take(short))
    ]
    assert rows[0] == rows[1] != []


def test_a_plan_of_twelve_weeks_is_waited_for(steady: Lent) -> None:
    young = with_plans(steady, np.arange(len(steady)) == 10, 84)
    assert [each for each in losses(young, PROMISE, FIRST + 70) if each.kind == RANKING] == []


def test_where_no_ranking_was_tested_the_reason_is_logged_in_fields_that_may_be(steady: Lent) -> None:
    version = "a" * 16
    with capture_logs() as lines:
        assert kept_or_lost(steady, version, PROMISE, FIRST + 70)
    assert lines == [], "tested"
    all_long = with_plans(steady, np.ones(len(steady), bool), 360)
    with capture_logs() as lines:
        kept_or_lost(all_long, version, PROMISE, FIRST + 70)
    [line] = lines
    assert (line["event"], line["version"], line["rows"]) == ("ranking_untested", version, len(steady))
    assert line["reason"].startswith(f"of {len(steady)} loans 0 are of plans of at most 84 days")
    assert set(line) - {"log_level"} <= ALLOWED
    with capture_logs() as lines:
        kept_or_lost(steady.take(np.zeros(0, int)), version, PROMISE, FIRST + 70)
    assert lines == [], "nothing was lent"


def test_a_period_counts_as_matured_without_the_few_of_longer_plans(steady: Lent) -> None:
    some = with_plans(steady, np.arange(len(steady)) % 20 == 0, 360)
    [week, *_] = [each for each in periods(some, ECONOMICS, SINCE, FIRST + 70) if each.kind == "week"][2:]
    assert week.on_matured is not None
    assert week.on_matured.rows < week.estimate.rows
    assert week.matured_share == 1
    only_long = with_plans(steady, np.ones(len(steady), bool), 360)
    assert {each.matured_share for each in periods(only_long, ECONOMICS, SINCE, FIRST + 70)} == {0}


def test_as_much_is_read_as_the_longest_window_needs() -> None:
    """Of plans of twelve weeks, on whichever day of the week one looks."""
    for until in range(FIRST + 200, FIRST + 207):
        first = until - PERFORMANCE_DAYS
        day = np.repeat(np.arange(first, until), 40)
        occurred_us = day * MICROS_PER_DAY
        mature_us = occurred_us + 84 * MICROS_PER_DAY
        outcome = (np.arange(len(day)) % 5 == 0).astype(float)
        made = Lent(
            occurred_us=occurred_us,
            model_version=np.full(len(day), "a" * 16, object),
            probability=np.full(len(day), 0.2),
            amount=np.ones(len(day)),
            weight=np.ones(len(day)),
            defaulted=np.where(mature_us <= until * MICROS_PER_DAY, outcome, np.nan),
            mature_us=mature_us,
        )
        spans = [each.end_day - each.first_day for each in losses(made, PROMISE, until) if each.kind == RANKING]
        assert spans == [7 * weeks for weeks in WEEKS]


def test_nothing_decided_is_no_loss() -> None:
    empty = lent(1, 10, seed=1).take(np.zeros(0, int))
    assert losses(empty, PROMISE, FIRST) == []


def test_the_slope_that_is_shown_is_measured_not_supposed(steady: Lent) -> None:
    found = [each.realized for each in periods(steady, ECONOMICS, SINCE, FIRST + 70) if each.kind == "week"]
    slopes = [each.calibration_slope for each in found if each is not None]
    assert len(slopes) > 5
    assert 1.0 not in slopes
    assert np.mean(slopes) == pytest.approx(1.0, abs=0.3)
