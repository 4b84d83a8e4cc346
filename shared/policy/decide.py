"""The policy applied to one purchase. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import ROUND_HALF_EVEN, Decimal

from shared.contracts.events import Reason, Transaction, Verdict
from shared.contracts.money import major_units, minor_units
from shared.policy.file import Policy
from shared.policy.reasons import PolicyReason

_WHOLE = Decimal(1)
_SEVERITY = {Verdict.APPROVE: 0, Verdict.REVIEW: 1, Verdict.DECLINE: 2}


@dataclass(frozen=True, slots=True)
class PolicyDecision:
    decision: Verdict
    expected_loss: float | None
    """In the event's currency; None where no probability is known."""
    policy_reasons: tuple[Reason, ...]
    """What the rules add to the model's reasons, the weightiest first."""


def apply(
    policy: Policy,
    transaction: Transaction,
    features: Mapping[str, float | None],
    probability: float | None,
    degraded: str | None,
) -> PolicyDecision:
    """The verdict on a purchase.

    `probability`: calibrated probability of default, 0 to 1; None exactly where `degraded` says why there is none, and
    then the fallback decides. Rules are applied in both cases, and can only make the verdict stricter.
    Raises ValueError for a probability that isn't one, `money.TooPrecise` or KeyError for an amount that is no amount.
    """
    if (probability is None) == (degraded is None):
        raise ValueError("either a probability, or the reason for having none")
    amount, _ = minor_units(transaction.amount, transaction.currency)
    reasons: list[Reason] = []
    if probability is None:
        verdict, loss = _fallback(policy, amount, transaction.currency, reasons), None
    else:
        loss_rate = _exact_share(probability) * policy.loss_given_default
        verdict = _by_loss_rate(policy, loss_rate)
        whole = int((loss_rate * amount).quantize(_WHOLE, rounding=ROUND_HALF_EVEN))
        loss = major_units(whole, transaction.currency)
    if amount > policy.minor_units_of_usd(policy.rules.review_amount_above_usd, transaction.currency):
        reasons.append(PolicyReason.AMOUNT_CAP.reason)
        verdict = _stricter(verdict, Verdict.REVIEW)
    purchases = features.get("purchases_24h")
    if purchases is not None and purchases >= policy.rules.review_purchases_24h_from:
        reasons.append(PolicyReason.VELOCITY.reason)
        verdict = _stricter(verdict, Verdict.REVIEW)
    return PolicyDecision(verdict, loss, tuple(reasons))


def _by_loss_rate(policy: Policy, loss_rate: Decimal) -> Verdict:
    if loss_rate <= policy.approve_up_to:
        return Verdict.APPROVE
    return Verdict.REVIEW if loss_rate <= policy.decline_above else Verdict.DECLINE


def _fallback(policy: Policy, amount: int, currency: str, reasons: list[Reason]) -> Verdict:
    if amount <= policy.minor_units_of_usd(policy.fallback.approve_up_to_usd, currency):
        return Verdict.APPROVE
    reasons.append(PolicyReason.FALLBACK_AMOUNT.reason)
    return Verdict.REVIEW


def _stricter(one: Verdict, other: Verdict) -> Verdict:
    return max(one, other, key=_SEVERITY.__getitem__)


def _exact_share(probability: float) -> Decimal:
    if not 0.0 <= probability <= 1.0:  # false for NaN as well
        raise ValueError(f"a probability lies between 0 and 1, got {probability!r}")
    return Decimal(repr(float(probability)))
