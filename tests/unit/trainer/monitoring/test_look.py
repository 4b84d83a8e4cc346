"""What a look amounts to, what it shows, and what a person reads of it."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from prometheus_client import REGISTRY

from services.trainer.evaluate import Economics
from services.trainer.lifecycle.reading import seen_of
from services.trainer.monitoring import metrics
from services.trainer.monitoring.alarms import judge
from services.trainer.monitoring.command import summary
from services.trainer.monitoring.look import Concern, Look, concerns
from services.trainer.monitoring.losses import Loss
from services.trainer.monitoring.page import page
from services.trainer.monitoring.performance import periods
from services.trainer.monitoring.reference import Reference
from services.trainer.monitoring.silence import Silence
from services.trainer.monitoring.soundness import MOST_DEAD, MOST_DEGRADED, SOME_LACKING, Freshness, Quality
from shared.feature_definitions.windows import MICROS_PER_DAY
from tests.unit.trainer.monitoring.streams import FIRST, watched
from tests.unit.trainer.monitoring.test_performance import lent

VERSION = "a" * 16


@pytest.fixture(scope="module")
def reference_and_look() -> tuple[Reference, Look]:
    reference, tiles = watched(150, 42, seed=5, reference=(0, 14))
    until = FIRST + 42
    found = lent(42, 150, seed=5)
    return reference, Look(
        as_of="2026-02-12T00:00:00.000000Z",
        until_day=until,
        model_version=VERSION,
        reference_rows=reference.rows,
        purchases=1000,
        days_read=1,
        drift=tuple(judge(reference, tiles, until, FIRST)),
        periods=tuple(periods(found, Economics(), FIRST - 28, until)),
        losses=(),
        freshness=Freshness(1000, {0.5: 0.02, 0.95: 0.1}, 0.0, {}),
        quality=Quality(1000, {}, 0, None, 0),
    )


@pytest.fixture
def look(reference_and_look: tuple[Reference, Look]) -> Look:
    return reference_and_look[1]


def drifted(look: Look) -> Look:
    [first, *others] = look.drift
    return replace(look, drift=(replace(first, score=0.5, p_value=0.0), *others))


def test_a_calm_look_amounts_to_nothing(look: Look) -> None:
    assert concerns(look) == {}


def test_one_alarm_amounts_to_drift_and_says_what_drifted(look: Look) -> None:
    [reason] = concerns(drifted(look))[Concern.DRIFT]
    assert look.drift[0].name in reason


def test_a_lost_promise_amounts_to_performance_loss(look: Look) -> None:
    lost = replace(look, losses=(Loss("calibration", FIRST, FIRST + 42, 900, 6.0, 5.0, "90 defaults, 45 expected"),))
    assert concerns(lost) == {Concern.PERFORMANCE_LOSS: ["calibration: 90 defaults, 45 expected"]}


def test_a_burst_of_dead_letters_amounts_to_broken_input(look: Look) -> None:
    letters = {"type": round(1000 * MOST_DEAD) + 1}
    assert set(concerns(replace(look, quality=replace(look.quality, dead_letters=letters)))) == {Concern.BROKEN_INPUT}
    fewer = {"type": round(1000 * MOST_DEAD)}
    assert concerns(replace(look, quality=replace(look.quality, dead_letters=fewer))) == {}


def test_features_that_come_out_otherwise_amount_to_broken_input(look: Look) -> None:
    quality = replace(look.quality, recomputed=500, mismatch_share=0.01)
    assert set(concerns(replace(look, quality=quality))) == {Concern.BROKEN_INPUT}


def test_a_week_of_fallbacks_amounts_to_broken_input(look: Look) -> None:
    many = round(look.freshness.decisions * MOST_DEGRADED) + 1
    fresh = replace(look.freshness, degraded={"rebuilding": many})
    assert set(concerns(replace(look, freshness=fresh))) == {Concern.BROKEN_INPUT}
    # Before the first model everything is decided so, and its first week must not be called broken for it.
    no_model = replace(look.freshness, degraded={"no_model": look.freshness.decisions})
    assert concerns(replace(look, freshness=no_model)) == {}


def missing(look: Look) -> Look:
    gone = [
        replace(each, score=2.0, p_value=0.0, missing=0.9) if each.name == "income_rank" else each
        for each in look.drift
    ]
    return replace(look, drift=tuple(gone))


def test_only_what_makes_purchases_other_than_they_are_is_never_learnt_from(look: Look) -> None:
    """All else is over once it is over: the purchases that were accepted are sound."""
    quality = look.quality
    for held in (
        replace(look, quality=replace(quality, dead_letters={"type": 500})),
        replace(look, freshness=replace(look.freshness, degraded={"rebuilding": 500})),
        replace(look, quality=replace(quality, loans_over=1000, outcomes_lacking=50)),
    ):
        seen = seen_of(held, 0)
        assert (len(seen.held), seen.poisoned, seen.sound) == (1, (), False)
        assert list(seen.held) == concerns(held)[Concern.BROKEN_INPUT]
    for tainted in (missing(look), replace(look, quality=replace(quality, recomputed=500, mismatch_share=0.01))):
        seen = seen_of(tainted, 0)
        assert (len(seen.poisoned), seen.held, seen.sound) == (1, (), False)


def test_a_source_that_tells_no_outcomes_any_more_is_said_and_holds_nobody_up(look: Look) -> None:
    since_us = FIRST * MICROS_PER_DAY
    few, many = (Silence(name, since_us, loans) for name, loans in (("few", SOME_LACKING - 1), ("many", SOME_LACKING)))
    never = Silence("never", None, SOME_LACKING)
    found = replace(look, quality=replace(look.quality, silent=(many, never, few)))
    told, untold = concerns(found)[Concern.SILENT_SOURCE]
    assert "source many has told of nothing since 2026-01-01" in told
    assert "source never has told of nothing yet" in untold
    assert seen_of(found, 0).sound


def test_a_field_that_goes_missing_amounts_to_drift_and_to_broken_input(look: Look) -> None:
    found = concerns(missing(look))
    assert set(found) == {Concern.DRIFT, Concern.BROKEN_INPUT}
    assert "income_rank is missing in 90%, 0% before" in found[Concern.BROKEN_INPUT]


def test_figures_of_a_period_are_those_of_the_latest_that_has_matured(look: Look) -> None:
    whole, latest = look.latest("four weeks", matured=True), look.latest("four weeks", matured=False)
    assert whole is not None
    assert latest is not None
    assert whole.realized is not None
    assert latest.first_day >= whole.first_day
    assert look.latest("year", matured=False) is None


def test_metrics_show_the_look(look: Look) -> None:
    metrics.show(drifted(look))
    assert REGISTRY.get_sample_value("flit_monitor_concern", {"concern": "drift"}) == 1
    assert REGISTRY.get_sample_value("flit_monitor_concern", {"concern": "broken input"}) == 0
    weekly = {each.name: each.score for each in look.weekly()}
    assert REGISTRY.get_sample_value("flit_drift_score", {"feature": "amount"}) == weekly["amount"]
    latest = look.latest("four weeks", matured=False)
    assert latest is not None
    assert REGISTRY.get_sample_value("flit_estimated_auc", {"version": VERSION}) == latest.estimate.auc.value
    metrics.show(look)
    assert REGISTRY.get_sample_value("flit_monitor_concern", {"concern": "drift"}) == 0


def test_a_page_shows_alarms_first_and_escapes_what_producers_wrote(
    reference_and_look: tuple[Reference, Look],
) -> None:
    reference, look = reference_and_look
    [first, *others] = look.drift
    named = replace(look, drift=(*others, replace(first, name="<script>", score=0.5, p_value=0.0)))
    text = page(named, reference, "detail.html")
    assert "Nothing to worry about" not in text
    assert "&lt;script&gt;" in text
    assert 'href="detail.html"' in text
    rows = text[text.index("Jensen-Shannon") :]
    assert rows.index("&lt;script&gt;") < rows.index(others[0].name)
    assert "Nothing to worry about" in page(look, reference, None)


def test_a_single_loan_has_no_expected_auc_and_still_an_answer(look: Look) -> None:
    one = lent(42, 150, seed=5).take(np.arange(1))
    young = replace(look, periods=tuple(periods(one, Economics(), FIRST - 28, look.until_day)))
    answer = json.loads(json.dumps(summary(young), allow_nan=False))
    assert answer["performance"] == {"expected_auc": None}


def test_the_answer_is_plain_json(look: Look) -> None:
    answer = json.loads(json.dumps(summary(drifted(look)), allow_nan=False))
    assert answer["version"] == VERSION
    assert set(answer["concerns"]) == {"drift"}
    assert answer["performance"]["auc"] == pytest.approx(0.6, abs=0.1)
    assert np.isfinite(list(answer["scores"].values())).all()
