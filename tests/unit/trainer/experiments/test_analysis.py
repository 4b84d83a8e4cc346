from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from services.trainer.evaluate import Economics
from services.trainer.experiments.analysis import analyse, course
from services.trainer.experiments.report import page
from tests.unit.trainer.experiments.traffic import LIMITS, Behaviour, an_experiment, traffic

EXPERIMENT = an_experiment(0.3)
EXPOSURES = traffic(EXPERIMENT, 6000, 1, {"canary": Behaviour(declines=0.2, slow=0.2)}, customers=4000)
FOUND = analyse(EXPOSURES, EXPERIMENT, LIMITS, Economics(), LIMITS.alpha)


def test_the_assignment_passes_a_sample_ratio_test_and_nobody_changes_his_arm() -> None:
    placed = FOUND["assignment"]
    assert placed["p_value"] > 0.01
    assert placed["evidence"] < 3
    assert sum(placed["customers"]) == FOUND["customers"] == len(set(EXPOSURES.customer_id))
    assert placed["customers_in_several_arms"] == placed["decisions_in_another_arm_than_the_hash_says"] == 0


def test_one_who_was_decided_on_in_two_arms_is_counted() -> None:
    moved = EXPOSURES.take(np.arange(len(EXPOSURES)))
    repeated = next(i for i, each in enumerate(moved.customer_id) if (moved.customer_id[:i] == each).any())
    moved.arm[repeated] = "canary" if moved.arm[repeated] == "champion" else "champion"
    placed = analyse(moved, EXPERIMENT, LIMITS, Economics(), 0.05)["assignment"]
    assert (placed["customers_in_several_arms"], placed["decisions_in_another_arm_than_the_hash_says"]) == (1, 1)


def test_an_arms_figures_are_those_of_its_decisions() -> None:
    mine = EXPOSURES.of("canary")
    arm = FOUND["arms"]["canary"]
    assert arm["decisions"] == len(mine)
    assert arm["declined"] == pytest.approx(mine.declined.mean())
    assert arm["approved"] + arm["declined"] + arm["reviewed"] == pytest.approx(1)
    assert arm["latency_ms"] == {"p50": pytest.approx(20), "p95": pytest.approx(2000), "p99": pytest.approx(2000)}
    assert arm["approved_and_matured"] == (~mine.declined).sum()
    approved = mine.take(~mine.declined)
    earned = np.where(approved.defaulted == 1, -0.6, 0.03) @ approved.amount
    assert arm["profit_bp"] == pytest.approx(earned / mine.amount.sum() * 10_000)
    assert sum(each["decisions"] for each in arm["approved_by"]["age bracket"].values()) == len(mine)


def test_an_arm_that_two_models_decided_is_named_with_how_many_each_did() -> None:
    """Another champion came meanwhile. What no model decided is of none."""
    assert FOUND["several_models"] == {}
    theirs = np.flatnonzero(EXPOSURES.arm == "champion")
    model = EXPOSURES.model_version.copy()
    model[theirs[:100]], model[theirs[100:103]] = "e" * 16, "unknown"
    found = analyse(replace(EXPOSURES, model_version=model), EXPERIMENT, LIMITS, Economics(), LIMITS.alpha)
    assert found["several_models"] == {"champion": {"c" * 16: len(theirs) - 103, "e" * 16: 100}}
    text = page(found, {})
    assert "More than one model decided for champion" in text
    assert "More than one model" not in page(FOUND, {})


def test_profit_is_that_of_purchases_old_enough_whatever_was_decided() -> None:
    """Else the latest weeks would be those of what was turned away, which is known to earn nothing at once."""
    half = len(EXPOSURES) // 2
    young = np.arange(len(EXPOSURES)) >= half
    seen = replace(EXPOSURES, matured=~young, defaulted=np.where(young, np.nan, EXPOSURES.defaulted))
    found = analyse(seen, EXPERIMENT, LIMITS, Economics(), LIMITS.alpha)
    settled = analyse(EXPOSURES.take(np.flatnonzero(~young)), EXPERIMENT, LIMITS, Economics(), LIMITS.alpha)
    assert found["arms"]["canary"]["profit_bp"] == settled["arms"]["canary"]["profit_bp"]
    profit = found["against_champion"]["canary"]["profit_of_a_customer"]
    assert profit == settled["against_champion"]["canary"]["profit_of_a_customer"]
    nothing = replace(EXPOSURES, matured=np.zeros(len(young), dtype=bool), defaulted=np.full(len(young), np.nan))
    early = analyse(nothing, EXPERIMENT, LIMITS, Economics(), LIMITS.alpha)
    assert early["arms"]["canary"]["profit_bp"] is None
    assert early["against_champion"]["canary"]["profit_of_a_customer"] is None


def test_money_is_of_what_was_lent_in_the_end_and_rates_are_of_decisions() -> None:
    """Of the arm: what was approved is called off, and what was declined a reviewer approves."""
    mine = EXPOSURES.arm == "canary"
    seen = replace(EXPOSURES, lent=np.where(mine, EXPOSURES.declined, EXPOSURES.lent))
    found = analyse(seen, EXPERIMENT, LIMITS, Economics(), LIMITS.alpha)
    arm, before = found["arms"]["canary"], FOUND["arms"]["canary"]
    lent = seen.take(mine & seen.declined)
    earned = np.where(lent.defaulted == 1, -0.6, 0.03) @ lent.amount
    assert arm["profit_bp"] == pytest.approx(earned / seen.of("canary").amount.sum() * 10_000)
    assert (arm["approved_and_matured"], arm["defaults"]) == (len(lent), lent.defaulted.sum())
    for rate in ("approved", "declined", "reviewed", "approved_by"):
        assert arm[rate] == before[rate], rate
    assert found["arms"]["champion"] == FOUND["arms"]["champion"]
    against, then = (each["against_champion"]["canary"] for each in (found, FOUND))
    assert against["approved"] == then["approved"]
    assert against["profit_of_a_customer"] != then["profit_of_a_customer"]


def test_differences_hold_what_was_planted_in_both_intervals() -> None:
    declined = FOUND["against_champion"]["canary"]["declined"]
    for interval in ("always_valid", "fixed_95"):
        low, high = declined[interval]
        assert low <= 0.1 <= high
    assert declined["always_valid"][0] < declined["fixed_95"][0]
    assert declined["fixed_p"] < 0.001


def test_the_broken_guardrails_are_named() -> None:
    broken = {each["guardrail"] for each in FOUND["guardrails"] if each["broken"]}
    assert broken == {"latency"}


def test_the_course_narrows_around_the_difference() -> None:
    points = course(EXPOSURES, "canary", 0.05)
    assert points[0][0] == 1
    assert points[-1][0] == FOUND["customers"]
    assert all(low <= found <= high for _, found, low, high in points)
    assert points[-1][3] - points[-1][2] < 0.2 < points[2][3] - points[2][2]


def test_figures_are_json_and_the_page_shows_them_without_outside_files() -> None:
    json.dumps(FOUND, allow_nan=False)
    shown = page(FOUND, {"canary": course(EXPOSURES, "canary", 0.05)})
    assert "Experiment trial" in shown
    assert "class=broken" in shown
    assert "<script src=" not in shown


def test_an_experiment_without_any_decision_yet_is_analysed_too() -> None:
    nobody = EXPOSURES.take(np.zeros(len(EXPOSURES), dtype=bool))
    found = analyse(nobody, EXPERIMENT, LIMITS, Economics(), 0.05)
    json.dumps(found, allow_nan=False)
    assert page(found, {"canary": course(nobody, "canary", 0.05)})
    assert found["arms"]["canary"]["profit_bp"] is None
