from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.contracts.events import Transaction, Verdict
from shared.contracts.money import MINOR_DIGITS, major_units, minor_units
from shared.policy import Policy, apply, load_policy

POLICY = load_policy()
MARGIN = Decimal("0.03")
SEVERITY = [Verdict.APPROVE, Verdict.REVIEW, Verdict.DECLINE]

probabilities = st.floats(0, 1, allow_nan=False)
cents = st.integers(0, 10_000_000)
currencies = st.sampled_from(sorted(MINOR_DIGITS))


def purchase(minor: int = 6751, currency: str = "USD") -> Transaction:
    return Transaction(
        event_id="e",
        source="rest",
        transaction_id="t",
        customer_id="c",
        occurred_at="2026-06-01T00:00:00.000000Z",
        amount=major_units(minor, currency),
        currency=currency,
    )


def decided(probability: float | None, minor: int = 6751, **more: Any) -> Any:
    degraded = more.pop("degraded", "no_model" if probability is None else None)
    currency = more.pop("currency", "USD")
    return apply(more.pop("policy", POLICY), purchase(minor, currency), more, probability, degraded)


def loss(probability: float, minor: int, currency: str = "USD") -> int:
    answer = decided(probability, minor, currency=currency)
    return minor_units(answer.expected_loss, currency)[0]


THRESHOLDS = POLICY.thresholds


def changed(**changes: Any) -> Policy:
    """The policy with other values, checked like any other."""
    return Policy.model_validate(json.loads(POLICY.model_dump_json()) | changes)


@given(probabilities, probabilities, cents)
def test_expected_loss_never_falls_with_the_probability(one: float, other: float, minor: int) -> None:
    low, high = sorted((one, other))
    assert loss(low, minor) <= loss(high, minor)


@given(probabilities, cents, cents)
def test_expected_loss_never_falls_with_the_amount(probability: float, one: int, other: int) -> None:
    low, high = sorted((one, other))
    assert loss(probability, low) <= loss(probability, high)


@given(probabilities, probabilities, cents, st.integers(0, 20))
def test_a_higher_probability_never_makes_the_verdict_milder(one: float, other: float, minor: int, count: int) -> None:
    low, high = sorted((one, other))
    features = {"purchases_24h": float(count)}
    verdicts = [decided(p, minor, **features).decision for p in (low, high)]
    assert SEVERITY.index(verdicts[0]) <= SEVERITY.index(verdicts[1])


@given(probabilities, cents, currencies)
def test_expected_loss_is_exact_to_the_minor_unit(probability: float, minor: int, currency: str) -> None:
    exact = Decimal(repr(probability)) * POLICY.loss_given_default * minor
    got = loss(probability, minor, currency)
    assert abs(exact - got) <= Decimal("0.5")
    if abs(exact - got) == Decimal("0.5"):
        assert got % 2 == 0  # half to even


@given(probabilities, cents)
def test_the_verdict_on_a_score_depends_on_the_loss_rate_and_not_on_the_amount(probability: float, minor: int) -> None:
    unlimited = changed(rules=[])
    assert decided(probability, minor, policy=unlimited).decision == decided(probability, 1, policy=unlimited).decision


def test_a_purchase_at_the_approval_limit_earns_money_and_one_above_break_even_is_not_approved() -> None:
    at_limit = THRESHOLDS.approve_up_to / POLICY.loss_given_default
    assert (1 - at_limit) * MARGIN - at_limit * POLICY.loss_given_default > 0
    assert decided(float(at_limit)).decision is Verdict.APPROVE
    break_even = float(MARGIN / (MARGIN + POLICY.loss_given_default))
    assert decided(break_even).decision is Verdict.REVIEW


def test_the_decline_limit_lies_where_a_review_as_assumed_in_the_file_stops_paying() -> None:
    p = THRESHOLDS.decline_above / POLICY.loss_given_default

    def earned(p: Decimal) -> Decimal:
        return Decimal("0.9") * (1 - p) * MARGIN - Decimal("0.5") * p * POLICY.loss_given_default - Decimal("0.005")

    assert earned(p - Decimal("0.0005")) > 0 > earned(p + Decimal("0.0005"))


def test_verdicts_on_both_sides_of_the_limits() -> None:
    assert decided(0.0475).decision is Verdict.APPROVE
    assert decided(0.0476).decision is Verdict.REVIEW
    assert decided(0.0673).decision is Verdict.REVIEW
    assert decided(0.0674).decision is Verdict.DECLINE


def test_an_amount_over_the_cap_is_reviewed_however_low_the_risk() -> None:
    assert decided(0.001, 100_000).decision is Verdict.APPROVE
    answer = decided(0.001, 100_001)
    assert answer.decision is Verdict.REVIEW
    assert [reason.code for reason in answer.policy_reasons] == ["policy_amount_cap"]


def test_the_cap_is_meant_in_the_size_of_a_dollar() -> None:
    assert decided(0.001, 150_000, currency="JPY").decision is Verdict.APPROVE
    assert decided(0.001, 150_001, currency="JPY").decision is Verdict.REVIEW


def test_a_burst_of_purchases_is_reviewed_and_an_unknown_count_is_not() -> None:
    assert decided(0.001, purchases_24h=7.0).decision is Verdict.APPROVE
    answer = decided(0.001, purchases_24h=8.0)
    assert answer.decision is Verdict.REVIEW
    assert [reason.code for reason in answer.policy_reasons] == ["policy_purchase_velocity"]
    assert decided(0.001, purchases_24h=None).decision is Verdict.APPROVE


def test_a_rule_never_softens_a_decline() -> None:
    assert decided(0.5, 100_001, purchases_24h=50.0).decision is Verdict.DECLINE


@given(cents, st.sampled_from(["no_model", "state_unavailable", "rebuilding"]))
def test_the_fallback_depends_on_the_amount_alone_and_never_declines(minor: int, degraded: str) -> None:
    answer = decided(None, minor, degraded=degraded)
    assert answer.decision is (Verdict.APPROVE if minor <= 10_000 else Verdict.REVIEW)
    assert answer.expected_loss is None
    assert bool(answer.policy_reasons) is (minor > 10_000)


def test_rules_hold_in_the_fallback_too() -> None:
    assert decided(None, 100, purchases_24h=8.0).decision is Verdict.REVIEW


@pytest.mark.parametrize("probability", [-0.1, 1.1, float("nan"), float("inf")])
def test_what_is_no_probability_is_refused(probability: float) -> None:
    with pytest.raises(ValueError, match="between 0 and 1"):
        decided(probability)


def test_a_probability_together_with_a_degradation_is_refused() -> None:
    with pytest.raises(ValueError, match="either"):
        decided(0.1, degraded="no_model")
    with pytest.raises(ValueError, match="either"):
        apply(POLICY, purchase(), {}, None, None)


def test_a_list_blocks_whom_it_names() -> None:
    policy = changed(lists={"blocked_customers": ["c"], "blocked_devices": [], "blocked_payment_methods": []})
    answer = decided(0.001, policy=policy)
    assert answer.decision is Verdict.DECLINE
    assert [reason.code for reason in answer.policy_reasons] == ["policy_blocked"]


def test_a_segment_has_thresholds_of_its_own_and_the_first_that_fits_counts() -> None:
    segments = [
        {"name": "new_customers", "when": "tenure_days < 30", "approve_up_to": "0.01", "decline_above": "0.02"},
        {"name": "anybody_young", "when": "tenure_days < 90", "approve_up_to": "0.0", "decline_above": "0.0"},
    ]
    policy = changed(segments=segments)
    assert decided(0.03, policy=policy, tenure_days=400.0).decision is Verdict.APPROVE
    assert decided(0.03, policy=policy, tenure_days=10.0).decision is Verdict.REVIEW
    assert decided(0.001, policy=policy, tenure_days=60.0).decision is Verdict.DECLINE
    assert decided(0.03, policy=policy, tenure_days=None).decision is Verdict.APPROVE


@pytest.mark.parametrize(("switch", "verdict"), [("review", Verdict.REVIEW), ("decline", Verdict.DECLINE)])
def test_the_emergency_switch_stops_every_approval(switch: str, verdict: Verdict) -> None:
    policy = changed(everything=switch)
    for probability in (0.001, None):
        answer = decided(probability, 100, policy=policy)
        assert answer.decision is verdict
        assert answer.policy_reasons[0].code == "policy_everything"
    assert decided(0.5, policy=policy).decision is Verdict.DECLINE


def test_what_is_missing_may_have_a_fallback_of_its_own() -> None:
    fallback = {"default": {"approve_up_to_usd": "100"}, "rebuilding": {"approve_up_to_usd": "20"}}
    policy = changed(fallback=fallback)
    assert decided(None, 5000, policy=policy).decision is Verdict.APPROVE
    assert decided(None, 5000, policy=policy, degraded="rebuilding").decision is Verdict.REVIEW


def test_the_weightiest_reason_comes_first() -> None:
    policy = changed(lists={"blocked_customers": ["c"], "blocked_devices": [], "blocked_payment_methods": []})
    answer = decided(0.001, 100_001, policy=policy, purchases_24h=9.0)
    assert [reason.code for reason in answer.policy_reasons] == [
        "policy_blocked",
        "policy_amount_cap",
        "policy_purchase_velocity",
    ]
