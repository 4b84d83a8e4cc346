"""Logged purchases decided again: what changes, and what it would have been worth."""

from __future__ import annotations

import json
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.trainer.backtest_report import figures, page
from services.trainer.evaluate import Economics
from shared.contracts.events import Verdict
from shared.policy import Circumstances, Policy, apply, circumstances_of, load_policy
from shared.policy.backtest import EVERYTHING, LoggedCase, backtest, profit_curve, with_known_chances
from shared.policy.exploration import exploration_of, was_explored
from tests import factories
from tests.unit.policy.test_exploration import policy_with

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


def said(one: LoggedCase, reviewed: Verdict | None = None, *, cancelled: bool = False) -> LoggedCase:
    return replace(one, reviewed=reviewed, cancelled=cancelled)


REVIEWED = 0.06
"""A probability for which the policy has a person look."""


def test_what_a_reviewer_approved_earns_on_both_sides_and_is_no_approval_on_either() -> None:
    waiting = case(1, probability=REVIEWED, decision=Verdict.REVIEW, defaulted=None)
    group = whole(said(replace(waiting, defaulted=False), Verdict.APPROVE), said(waiting, Verdict.DECLINE), waiting)
    assert group.logged == group.proposed
    assert (group.logged.approved, group.logged.known, group.logged.known_by_review) == (0, 1, 1)
    assert group.logged.approved_cents == 10_000
    assert group.logged.profit_cents == 300


def test_where_the_proposed_policy_would_not_ask_a_reviewer_his_choice_is_counted_on_both_sides() -> None:
    asked = [
        said(case(0, probability=REVIEWED, decision=Verdict.REVIEW), Verdict.APPROVE),
        said(case(1, probability=REVIEWED, decision=Verdict.REVIEW, defaulted=None), Verdict.DECLINE),
        case(2),
    ]
    group = backtest(asked, EVERYBODY, ECONOMICS)[EVERYTHING, ""]
    assert (group.logged.approved, group.proposed.approved) == (1, 3)
    assert group.logged.profit_cents == group.proposed.profit_cents == 600
    for side in (group.logged, group.proposed):
        assert (side.known, side.known_by_review) == (2, 1)
    assert group.logged.approved_cents == 20_000
    assert group.proposed.approved_cents == 30_000


def test_what_nobody_looked_at_earns_nothing_where_it_would_be_in_review() -> None:
    group = whole(case(0, probability=REVIEWED))
    assert group.moves == {(Verdict.APPROVE, Verdict.REVIEW): 1}
    assert (group.logged.known, group.proposed.known, group.proposed.approved_cents) == (1, 0, 0)


@pytest.mark.parametrize(
    ("decision", "probability", "reviewed", "lent"),
    [
        (Verdict.APPROVE, 0.02, Verdict.DECLINE, 0),
        (Verdict.DECLINE, 0.5, Verdict.APPROVE, 1),
    ],
    ids=["an approval", "a decline"],
)
def test_a_decision_that_a_reviewer_turned_around_ends_so_where_it_is_made_again(
    decision: Verdict, probability: float, reviewed: Verdict, lent: int
) -> None:
    group = whole(said(case(0, decision=decision, probability=probability), reviewed))
    assert (group.changed, group.logged) == (0, group.proposed)
    assert group.logged.approved == (decision is Verdict.APPROVE)
    assert group.logged.approved_cents == lent * 10_000


def test_what_was_called_off_is_approved_and_lent_on_neither_side() -> None:
    group = whole(said(case(0, defaulted=None), cancelled=True))
    assert group.logged == group.proposed
    assert (group.logged.approved, group.logged.approved_cents, group.logged.expected_loss_cents) == (1, 0, 0)


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


EXPLORING = policy_with()
EXPLORED = {EXPLORING.name: exploration_of(EXPLORING)}
EVERYBODY = POLICY.model_copy(
    update={
        "thresholds": POLICY.thresholds.model_copy(update={"approve_up_to": Decimal(1), "decline_above": Decimal(1)})
    }
)
RISKY = 0.1


def logged_under(policy: Policy, number: int) -> LoggedCase:
    """As a system that explores would have it: of what was declined nobody knows what became."""
    transaction = factories.accepted(number, amount=100.0).transaction
    made = apply(policy, transaction, {}, RISKY, None, Circumstances(exploring=True))
    return LoggedCase(
        transaction, {}, made.decision, RISKY, None,
        defaulted=number % 10 == 0 if made.decision is Verdict.APPROVE else None,
        circumstances=circumstances_of(made.policy_reasons),
        explored_under=policy.name if was_explored(made.policy_reasons) else None,
    )  # fmt: skip


def test_what_chance_let_through_stands_for_its_kind_where_all_of_it_would_be_approved() -> None:
    cases = [logged_under(EXPLORING, number) for number in range(4000)]
    group = backtest(cases, EVERYBODY, ECONOMICS, EXPLORED)[EVERYTHING, ""]
    # Binomial(4000, 0.25), four for each: six standard deviations are 657.
    assert float(group.proposed.stood_for) == pytest.approx(4000, abs=657)
    assert group.proposed.default_rate == pytest.approx(0.1, abs=0.05)
    assert group.proposed.known == group.logged.known == group.logged.stood_for
    assert group.proposed.profit_cents == 4 * group.logged.profit_cents
    assert group.proposed.profit_bp == group.logged.profit_bp


def test_the_curve_weighs_what_chance_let_through() -> None:
    sure = [case(number, probability=0.01) for number in range(4000, 4100)]
    risky = [logged_under(EXPLORING, number) for number in range(400)]
    tried = sum(one.defaulted is not None for one in risky)
    points = profit_curve([*sure, *risky], POLICY, ECONOMICS, EXPLORED)
    earned_on_sure = ECONOMICS.margin_on_good * 10_000 * 100 / (100 + 4 * tried)
    assert dict(points)[0.01] == pytest.approx(earned_on_sure)


def test_a_policy_that_explores_changes_none_of_its_own_decisions() -> None:
    cases = [logged_under(EXPLORING, number) for number in range(400)]
    group = backtest(cases, EXPLORING, ECONOMICS, EXPLORED)[EVERYTHING, ""]
    assert group.changed == 0
    assert group.proposed == group.logged
    assert group.logged.known > 0


def test_without_exploration_what_chance_let_through_is_declined() -> None:
    cases = [logged_under(EXPLORING, number) for number in range(400)]
    group = backtest(cases, POLICY, ECONOMICS, EXPLORED)[EVERYTHING, ""]
    assert group.changed == group.logged.approved > 0
    assert group.proposed.approved == 0


@pytest.mark.parametrize(
    ("policy", "tried", "error"),
    [(policy_with("0.1"), 400, 114), (policy_with("0.5"), 2000, 329), (policy_with(salt="another secret"), 1000, 329)],
    ids=["less is tried", "more is tried", "others are tried"],
)
def test_a_policy_that_explores_otherwise_tries_as_many_as_it_would(policy: Policy, tried: int, error: int) -> None:
    """Of 4,000. Six standard deviations, of Binomial(4000, 0.1); (4000, 0.25), two for each; (4000, 0.0625), four."""
    cases = [logged_under(EXPLORING, number) for number in range(4000)]
    group = backtest(cases, policy, ECONOMICS, EXPLORED)[EVERYTHING, ""]
    assert float(group.proposed.stood_for) == pytest.approx(tried, abs=error)


def test_where_nobody_knows_how_often_chance_decided_the_outcome_is_as_if_unknown() -> None:
    logged = [logged_under(EXPLORING, number) for number in range(400)]
    tried = sum(one.defaulted is not None for one in logged)
    asked: list[str] = []
    cases, explored, unknown = with_known_chances(logged, asked.append)
    assert (asked, explored, unknown) == ([EXPLORING.name], {}, tried)
    group = backtest(cases, EVERYBODY, ECONOMICS, explored)[EVERYTHING, ""]
    assert (group.proposed.approved, group.proposed.known, tried > 0) == (400, 0, True)
    assert with_known_chances(logged, EXPLORED.get) == (logged, EXPLORED, 0)


@pytest.mark.parametrize(
    ("circumstances", "probability"),
    [
        (Circumstances(over_limit=True), 0.02),
        (Circumstances(declines_held=True), 0.5),
        (Circumstances(approvals_held=True), 0.02),
    ],
    ids=["beyond the limit", "declines held", "approvals held"],
)
def test_what_was_held_back_then_is_held_back_again(circumstances: Circumstances, probability: float) -> None:
    plain = case(probability=probability)
    made = apply(POLICY, plain.transaction, {}, probability, None, circumstances)
    again = replace(plain, decision=made.decision, circumstances=circumstances_of(made.policy_reasons))
    assert whole(again).changed == 0
    assert whole(replace(plain, decision=made.decision)).changed == 1


def test_the_report_is_one_page_with_its_figures_in_it() -> None:
    cases = [case(0), case(1, probability=0.9, defaulted=True)]
    groups = backtest(cases, POLICY, ECONOMICS)
    found = figures(groups)
    json.dumps(found, allow_nan=False)
    text = page("Policy <x>", found, groups, profit_curve(cases, POLICY, ECONOMICS))
    assert "1 of 2 decisions change" in text
    assert "Policy &lt;x&gt;" in text
    assert "<script src=" not in text
