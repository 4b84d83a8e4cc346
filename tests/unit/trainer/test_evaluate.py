from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.metrics import brier_score_loss, log_loss, roc_auc_score

from services.trainer.evaluate import (
    BOOTSTRAP_ROUNDS,
    Economics,
    auc,
    brier,
    ece,
    evaluate,
    ks,
    log_losses,
    numbered,
    profit_bp,
    weighted_mean_error,
)
from services.trainer.examples import Examples
from tests.unit.trainer.synthetic import synthetic_examples

rows = st.lists(st.tuples(st.booleans(), st.integers(0, 12)), min_size=2, max_size=60).filter(
    lambda items: len({label for label, _ in items}) == 2
)


@given(rows)
@settings(max_examples=80, deadline=None)
def test_figures_agree_with_another_implementation(items: list[tuple[bool, int]]) -> None:
    label = np.array([int(bad) for bad, _ in items])
    probability = np.array([(score + 0.5) / 14 for _, score in items])
    assert auc(label, probability) == pytest.approx(roc_auc_score(label, probability))
    assert brier(label, probability) == pytest.approx(brier_score_loss(label, probability))
    assert log_losses(label, probability).mean() == pytest.approx(log_loss(label, probability))


@given(rows)
@settings(max_examples=60, deadline=None)
def test_a_weight_counts_a_row_that_many_times(items: list[tuple[bool, int]]) -> None:
    label = np.array([int(bad) for bad, _ in items])
    score = np.array([float(value) for _, value in items])
    times = np.arange(len(items)) % 3 + 1
    weight = times.astype(np.float64)
    assert auc(label, score, weight) == pytest.approx(auc(np.repeat(label, times), np.repeat(score, times)))


def test_an_auc_of_one_kind_alone_is_not_a_number() -> None:
    assert math.isnan(auc(np.zeros(3, dtype=int), np.arange(3.0)))


def test_ks_is_one_for_a_perfect_score_and_zero_for_a_constant() -> None:
    label = np.array([0, 0, 1, 1])
    assert ks(label, np.array([0.1, 0.2, 0.3, 0.4])) == 1.0
    assert ks(label, np.full(4, 0.5)) == 0.0


def test_ece_is_the_gap_between_said_and_seen() -> None:
    label = np.array(([1] + [0] * 9) * 100)
    assert ece(label, np.full(1000, 0.1)) < 1e-9
    assert ece(label, np.full(1000, 0.25)) == pytest.approx(0.15)


def test_profit_counts_refused_volume_as_asked_for_but_not_as_earned() -> None:
    label, amount = np.array([0, 0, 1]), np.array([100.0, 100.0, 200.0])
    approve = np.array([True, False, False])
    assert profit_bp(label, amount, approve, Economics()) == pytest.approx(0.03 * 100 / 400 * 1e4)
    assert profit_bp(label, amount, np.ones(3, dtype=bool), Economics()) == pytest.approx((6 - 120) / 400 * 1e4)


def test_break_even_is_where_a_loan_earns_nothing() -> None:
    economics = Economics()
    p = economics.break_even
    assert p == pytest.approx(0.0476, abs=1e-4)
    assert (1 - p) * economics.margin_on_good == pytest.approx(p * economics.loss_on_default)


def figures(rule: int, seed: int = 7) -> dict[str, float]:
    draws = np.random.default_rng(0)
    probability = draws.uniform(0.01, 0.3, 4000)
    label = (draws.random(4000) < probability).astype(np.int8)
    return evaluate(examples(label, np.ones(4000), rule), probability, Economics(), seed)


def examples(label: NDArray[np.int8], weight: NDArray[np.float64], rule: int = 1) -> Examples:
    seen = synthetic_examples(len(label))
    return replace(
        seen,
        label=label,
        weight=weight,
        amount=np.full(len(label), 100.0),
        rule_approves=np.full(len(label), rule, np.int8),
    )


def test_a_row_of_weight_three_is_three_rows() -> None:
    draws = np.random.default_rng(4)
    probability, times = np.round(draws.uniform(0.01, 0.3, 1000), 3), draws.integers(1, 4, 1000)
    label = (draws.random(1000) < probability).astype(np.int8)
    one = evaluate(examples(label, times.astype(np.float64)), probability, Economics(), seed=1)
    repeated = label.repeat(times)
    other = evaluate(examples(repeated, np.ones(len(repeated))), probability.repeat(times), Economics(), seed=1)
    for name in one.keys() - {"auc_low", "auc_high", "rows", "effective_rows", "defaults", "ece"}:
        assert one[name] == pytest.approx(other[name]), name
    assert one["ece"] == pytest.approx(other["ece"], abs=2e-3)  # bins are cut between rows
    assert one["rows"] > one["effective_rows"] > 800


def test_weights_undo_a_choice_by_chance() -> None:
    """Nine in ten of the risky half aren't seen; each of the others stands for ten."""
    draws = np.random.default_rng(5)
    probability = draws.uniform(0.01, 0.5, 60_000)
    label = (draws.random(60_000) < probability).astype(np.int8)
    risky = probability > 0.25
    seen = ~risky | (draws.random(60_000) < 0.1)
    weight = np.where(risky, 10.0, 1.0)
    whole = evaluate(examples(label, np.ones(60_000)), probability, Economics(), seed=1)
    weighted = evaluate(examples(label[seen], weight[seen]), probability[seen], Economics(), seed=1)
    naive = evaluate(examples(label[seen], np.ones(seen.sum())), probability[seen], Economics(), seed=1)
    for name in ("auc", "ks", "brier", "log_loss", "default_rate", "profit_bp"):
        assert abs(weighted[name] - whole[name]) < abs(naive[name] - whole[name]) / 3, name
    assert weighted["auc_low"] < whole["auc"] < weighted["auc_high"]


def test_the_interval_holds_the_figure_and_is_as_wide_as_theory_says() -> None:
    found = figures(rule=1)
    assert found["auc_low"] < found["auc"] < found["auc_high"]
    # Hanley and McNeil (1982): the standard error of an AUC.
    area, bad, good = found["auc"], found["defaults"], found["rows"] - found["defaults"]
    q1, q2 = area / (2 - area), 2 * area * area / (1 + area)
    error = math.sqrt((area * (1 - area) + (bad - 1) * (q1 - area**2) + (good - 1) * (q2 - area**2)) / (bad * good))
    assert (found["auc_high"] - found["auc_low"]) / (2 * 1.96) == pytest.approx(error, rel=0.25)


def test_a_rule_that_is_unknown_somewhere_gets_no_figure() -> None:
    assert "profit_bp_rule" not in figures(rule=-1)
    assert figures(rule=1)["profit_bp_rule"] == figures(rule=1)["profit_bp_approve_all"]


def test_the_same_seed_gives_the_same_figures() -> None:
    assert figures(rule=1) == figures(rule=1)
    assert figures(rule=1, seed=8)["auc_low"] != figures(rule=1)["auc_low"]


def test_whoever_was_erased_is_taken_for_another_in_each_row() -> None:
    assert numbered(np.array(["b", None, "a", "b", None], dtype=object)).tolist() == [0, 1, 2, 0, 3]


def test_the_error_of_a_mean_is_that_of_the_draw_of_customers() -> None:
    draws = np.random.default_rng(6)
    values, weight = draws.normal(size=300), draws.choice([1.0, 5.0], 300)
    once, again = weighted_mean_error(values, weight, np.arange(300)), np.repeat(np.arange(300), 4)
    assert once == weighted_mean_error(values, weight)
    assert weighted_mean_error(values[again], weight[again], again) == pytest.approx(once)
    assert weighted_mean_error(values[again], weight[again]) == pytest.approx(once / 2)


def of_customers(rows: int, times: int) -> dict[str, float]:
    """Of customers with one purchase each, told so many times."""
    draws = np.random.default_rng(0)
    probability = draws.uniform(0.01, 0.3, rows)
    label = (draws.random(rows) < probability).astype(np.int8)
    again = np.repeat(np.arange(rows), times)
    seen = replace(examples(label[again], np.ones(rows * times)), customer_id=again.astype(object))
    return evaluate(seen, probability[again], Economics(), seed=7)


def test_a_purchase_that_is_told_again_makes_no_interval_narrower() -> None:
    once, again = of_customers(1000, 1), of_customers(1000, 4)
    assert (again["auc_low"], again["auc_high"]) == pytest.approx((once["auc_low"], once["auc_high"]))


def test_of_customers_who_come_once_the_bootstrap_is_that_of_rows() -> None:
    draws = np.random.default_rng(0)
    probability = draws.uniform(0.01, 0.3, 1000)
    label = (draws.random(1000) < probability).astype(np.int8)
    draws = np.random.default_rng(7)
    rows = [draws.multinomial(1000, np.full(1000, 1 / 1000)).astype(float) for _ in range(BOOTSTRAP_ROUNDS)]
    low, high = np.percentile([auc(label, probability, times) for times in rows], [2.5, 97.5])
    found = of_customers(1000, 1)
    assert (found["auc_low"], found["auc_high"]) == pytest.approx((low, high))
