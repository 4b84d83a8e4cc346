"""The story of the simulated year: what counts as noticed, as a false alarm, and as a promise broken."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from shared.contracts.identity import epoch_micros
from shared.feature_definitions.windows import MICROS_PER_DAY
from tests.year import story
from tests.year.course import Decided, windows
from tests.year.plan import YearPlan

PLAN = YearPlan(days=365, daily=10, attributes_day=130, law_day=170, seed=1)
FIRST_US = epoch_micros(f"{PLAN.first}T00:00:00Z")


def decided(days: range, daily: int = 10) -> Decided:
    """Purchases at even times, scored as the law has it, but for a share of noise."""
    dice = np.random.default_rng(1)
    count = len(days) * daily
    at = FIRST_US + (days.start + np.arange(count) / daily) * MICROS_PER_DAY
    rate = dice.uniform(0.05, 0.5, count)
    label = (dice.uniform(size=count) < rate).astype(np.int8)
    version = np.array(["first"] * count, dtype=object)
    return Decided(at.astype(np.int64), np.clip(rate + dice.normal(0, 0.2, count), 0, 1), rate, label, version)


def look(day: float, *, drift: bool = False, performance: bool = False) -> dict[str, Any]:
    hours = int(day * 24)
    at = np.datetime64(str(PLAN.first)) + np.timedelta64(hours, "h")
    return {"as_of": f"{at}:00:00.000000Z", "drift": drift, "performance": performance, "trigger": None}


def alarms(*looks: dict[str, Any]) -> dict[str, Any]:
    return story._alarms(list(looks), PLAN, decided(range(40, 365)), FIRST_US)


def test_an_alarm_that_goes_on_is_one_and_one_that_comes_again_is_another() -> None:
    found = alarms(
        look(60, drift=True),
        look(61, drift=True),
        look(62),
        look(63, performance=True),
        look(64),
        look(131, drift=True),
    )
    monthly = pytest.approx(2 / 90 * story.MONTH_DAYS)
    assert found["false"] == {"alarms": 2, "alarmed_days": 3, "stable_days": 90.0, "a_month": monthly}


def test_a_change_is_noticed_by_the_first_look_after_it_and_by_no_earlier_one() -> None:
    found = alarms(
        look(120, drift=True, performance=True), look(121), look(132, drift=True), look(200, performance=True)
    )
    assert found["attributes"] == {"day": 132.0, "after_days": 2.0, "after_purchases": 21}
    assert found["law"]["after_days"] == 30.0
    assert alarms(look(131))["attributes"]["day"] is None


def test_an_alarm_that_was_on_before_has_noticed_nothing() -> None:
    always = alarms(*(look(day, drift=True, performance=True) for day in range(60, 365)))
    assert (always["attributes"]["day"], always["law"]["day"]) == (None, None)


def test_windows_hold_each_purchase_once_and_a_perfect_score_reaches_the_ceiling() -> None:
    some = decided(range(100), daily=50)
    found = list(windows(some, FIRST_US, 100, 28))
    assert [(each.from_day, each.to_day) for each in found] == [(0, 28), (28, 56), (56, 84), (84, 100)]
    assert sum(each.purchases for each in found) == len(some)
    assert all(each.gap > 0 for each in found)
    perfect = Decided(some.occurred_us, some.expected_rate, some.expected_rate, some.label, some.version)
    assert all(each.gap == 0 for each in windows(perfect, FIRST_US, 100, 28))


def test_trainings_are_told_with_their_day_and_what_they_came_to(tmp_path: Path) -> None:
    lines = [
        look(30) | {"event": "looked"},
        {"event": "training_begins", "trigger": "schedule"},
        {"event": "training_too_early", "trigger": "schedule"},
        look(90) | {"event": "looked"},
        {"event": "training_done", "trigger": "drift", "version": "abc"},
    ]
    log = tmp_path / "log"
    log.write_text("not JSON\n" + "\n".join(map(json.dumps, lines)))
    assert story.trainings(log, FIRST_US) == [
        {"day": 30.0, "trigger": "schedule", "came": "too early", "version": None},
        {"day": 90.0, "trigger": "drift", "came": "model", "version": "abc"},
    ]


def test_a_candidates_steps_are_told_with_their_day(tmp_path: Path) -> None:
    step = {"version": "abc", "stage": "shadow", "by": "the ladder", "reasons": ["all gates passed"]}
    log = tmp_path / "log"
    log.write_text("\n".join(map(json.dumps, [look(90) | {"event": "looked"}, step | {"event": "candidacy_moved"}])))
    assert story.steps(log, FIRST_US) == [{"day": 90.0} | step]


def test_the_latest_look_is_read_from_a_log_that_grows(tmp_path: Path) -> None:
    log = tmp_path / "log"
    looks = story.Looks(log)
    assert looks.latest() is None
    # The steps of a look are told too, and are none; a line that is being written is read when it is whole.
    log.write_text('{"step": "looked", "event": "step_done"}\n' + json.dumps(look(3) | {"event": "looked"}))
    assert looks.latest() is None
    with log.open("a") as file:
        file.write("\n")
    assert str(looks.latest()) == "2025-01-04"


def kept() -> dict[str, Any]:
    """A year in which all went as promised."""
    return {
        "plan": {"law_day": 170},
        "trainings": [{"day": 250.0, "version": "new"}],
        "versions": [{"version": "old"}, {"version": "new"}],
        "steps": [{"version": "new", "stage": stage} for stage in ("shadow", "canary", "promoting", "probation")],
        "ledger_balanced": True,
        "alarms": {
            "attributes": {"day": 132.0, "after_purchases": 3000},
            "law": {"day": 230.0, "after_purchases": 90_000},
            "false": {"alarms": 0, "alarmed_days": 0, "a_month": 0.0},
        },
        "estimates": [{"stable": True, "defaults": 100, "auc": 0.6, "estimated_auc": 0.604}],
        "last": {"gap": 0.003},
    }


def test_a_year_as_promised_breaks_nothing() -> None:
    assert story.broken_promises(kept()) == []


def test_a_candidate_that_is_in_its_canary_at_the_end_of_the_year_is_not_the_model_in_service() -> None:
    climbs = [{"version": "newest", "stage": stage} for stage in ("shadow", "canary")]
    found = kept()
    found |= {"steps": found["steps"] + climbs, "versions": [*found["versions"], {"version": "newest"}]}
    assert story.broken_promises(found) == []


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"ledger_balanced": False}, "ledger"),
        ({"last": {"gap": 0.0051}}, "below the ceiling"),
        ({"last": None}, "no model decides"),
        ({"estimates": []}, "no stable month"),
        ({"estimates": [{"stable": True, "defaults": 9, "auc": 0.6, "estimated_auc": 0.611}]}, r"\+0\.0110"),
        ({"alarms": kept()["alarms"] | {"law": {"day": None, "after_purchases": None}}}, "law was never noticed"),
        ({"alarms": kept()["alarms"] | {"law": {"day": 300.0, "after_purchases": 200_000}}}, "not within 150,000"),
        (
            {"alarms": kept()["alarms"] | {"false": {"alarms": 3, "alarmed_days": 3, "a_month": 1.0}}},
            "false alarms",
        ),
        ({"alarms": kept()["alarms"] | {"false": {"alarms": 1, "alarmed_days": 60, "a_month": 0.3}}}, "60 stable days"),
        ({"steps": []}, "came by shadow"),
        ({"steps": [*kept()["steps"], {"version": "new", "stage": "rolled back"}]}, "came by shadow"),
        ({"steps": [{"version": "new", "stage": "probation"}]}, "came by shadow"),
        ({"trainings": [{"day": 100.0, "version": "new"}]}, "came by shadow"),
        ({"steps": kept()["steps"][:2]}, "came by shadow"),
    ],
)
def test_each_promise_can_be_broken(change: dict[str, Any], words: str) -> None:
    [broken] = story.broken_promises(kept() | change)
    assert re.search(words, broken)
