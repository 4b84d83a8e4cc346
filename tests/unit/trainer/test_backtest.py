"""Logged purchases decided again: what changes, and what it would have been worth."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.trainer.backtest_report import figures, page
from services.trainer.evaluate import Economics
from shared.contracts.events import Verdict
from shared.policy import load_policy
from shared.policy.backtest import EVERYTHING, LoggedCase, backtest, profit_curve
from tests import factories

POLICY = load_policy()
ECONOMICS = Economics()


def case(
    number: int = 0,
    *,
    decision: Verdict = Verdict.APPROVE,
    probability: float | None = 0.02,
    defaulted: bool | None = False,
    **changes: Any,
) -> LoggedCase:
    changes.setdefault("amount", 100.0)
    transaction = factories.accepted(number, **changes).transaction
    return LoggedCase(
        transaction, {}, decision, probability, None if probability is not None else "no_model", defaulted
    )


def whole(*cases: LoggedCase) -> Any:
    return backtest(cases, POLICY, ECONOMICS)[EVERYTHING, ""]


def test_the_same_policy_and_probabilities_change_nothing() -> None:
    group = whole(case(0), case(1, probability=0.06, decision=Verdict.REVIEW), case(2, probability=None))
    assert (group.changed, group.customers, group.purchases) == (0, set(), 3)


def test_money_is_exact_and_only_known_outcomes_earn() -> None:
    group = whole(
        case(0, amount=0.1), case(1, amount=0.2), case(2, amount=100.0, defaulted=True), case(3, defaulted=None)
    )
    assert group.logged.approved_cents == Decimal("20030")
    assert group.logged.profit_cents == Decimal("0.03") * 30 - Decimal("0.6") * 10_000
    assert (group.logged.known, group.logged.defaults) == (3, 1)
    assert group.logged.expected_loss_cents == Decimal("0.012") * 20_030


def test_what_newly_passes_and_what_no_longer_does_are_told_apart() -> None:
    group = whole(
        case(0, decision=Verdict.DECLINE, customer_id="a"),
        case(1, decision=Verdict.APPROVE, probability=0.5, customer_id="b"),
        case(2, decision=Verdict.APPROVE, probability=0.5, customer_id="b"),
    )
    assert group.moves == {
        (Verdict.DECLINE, Verdict.APPROVE): 1,
        (Verdict.APPROVE, Verdict.DECLINE): 2,
    }
    assert group.customers == {"a", "b"}
    assert (group.logged.approved, group.proposed.approved) == (2, 1)


def test_amounts_of_different_currencies_are_added_in_one_size() -> None:
    group = whole(case(0, amount=100.0), case(1, amount=15_000.0, currency="JPY"))
    assert group.cents == 20_000


@given(st.lists(st.tuples(st.floats(0, 1), st.booleans(), st.sampled_from(["a", "b", None])), max_size=30))
def test_each_dimension_s_segments_add_up_to_all(rows: list[tuple[float, bool, str | None]]) -> None:
    cases = [
        case(number, probability=probability, defaulted=bad, product={"category": category})
        for number, (probability, bad, category) in enumerate(rows)
    ]
    groups = backtest(cases, POLICY, ECONOMICS)
    everything = groups.pop((EVERYTHING, ""))
    for dimension in {name for name, _ in groups}:
        parts = [group for (name, _), group in groups.items() if name == dimension]
        assert sum(part.purchases for part in parts) == everything.purchases
        assert sum(part.proposed.profit_cents for part in parts) == everything.proposed.profit_cents


def test_the_profit_curve_rises_over_good_loans_and_falls_over_defaults() -> None:
    good = [case(n, probability=0.01) for n in range(10)]
    bad = [case(n, probability=0.5, defaulted=True) for n in range(10, 20)]
    points = profit_curve([*good, *bad, case(20, defaulted=None)], POLICY, ECONOMICS)
    earned = dict(points)
    assert earned[0.01] == pytest.approx(150.0)
    assert points[-1][0] == 0.5
    assert points[-1][1] == pytest.approx(0.5 * 300 - 0.5 * 6000)


def test_the_report_is_one_page_with_its_figures_in_it() -> None:
    cases = [case(0), case(1, probability=0.9, defaulted=True)]
    groups = backtest(cases, POLICY, ECONOMICS)
    found = figures(groups)
    json.dumps(found, allow_nan=False)
    text = page("Policy <x>", found, groups, profit_curve(cases, POLICY, ECONOMICS))
    assert "1 of 2 decisions change" in text
    assert "Policy &lt;x&gt;" in text
    assert "<script src=" not in text
