"""The policy applied to one purchase. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import ROUND_HALF_EVEN, Decimal

from shared.contracts.events import Reason, Transaction, Verdict
from shared.contracts.money import major_units, minor_units
from shared.policy.circumstances import ORDINARY, Circumstances
from shared.policy.exploration import explores
from shared.policy.facts import Case, FactsOf
from shared.policy.file import Policy, Thresholds
from shared.policy.reasons import PolicyReason

_WHOLE = Decimal(1)
_SEVERITY = {Verdict.APPROVE: 0, Verdict.REVIEW: 1, Verdict.DECLINE: 2}


@dataclass(frozen=True, slots=True)
class PolicyDecision:
    decision: Verdict
    expected_loss: float | None
    """In the event's currency; None where no probability is known."""
    policy_reasons: tuple[Reason, ...]
    """What the policy adds to the model's reasons, the weightiest first."""


def apply(
    policy: Policy,
    transaction: Transaction,
    features: Mapping[str, float | None],
    probability: float | None,
    degraded: str | None,
    circumstances: Circumstances = ORDINARY,
) -> PolicyDecision:
    """The verdict on a purchase.

    `probability`: calibrated probability of default, 0 to 1; None exactly where `degraded` says why there is none, and
    then the fallback decides. Rules are applied in both cases, and can only make the verdict stricter. What no rule
    speaks against may be approved by chance (`exploration`).
    Raises ValueError for a probability that isn't one, `money.TooPrecise` or KeyError for an amount that is no amount.
    """
    if (probability is None) == (degraded is None):
        raise ValueError("either a probability, or the reason for having none")
    amount, _ = minor_units(transaction.amount, transaction.currency)
    share = None if probability is None else _exact_share(probability)
    loss_rate = None if share is None else share * policy.loss_given_default
    amount_usd = policy.usd_of_minor_units(amount, transaction.currency)
    facts = FactsOf(Case(transaction, features, amount_usd, share, loss_rate, degraded))
    found: list[tuple[Verdict, Reason]] = []
    loss: float | None = None
    if loss_rate is None or degraded is not None:
        verdict = _fallback(policy, amount, transaction.currency, degraded or "", found)
    else:
        verdict = _by_loss_rate(_thresholds(policy, facts), loss_rate)
        whole = int((loss_rate * amount).quantize(_WHOLE, rounding=ROUND_HALF_EVEN))
        loss = major_units(whole, transaction.currency)
    # Before the rules: the reasons of circumstances tell how the decision came about, and must not be cut.
    if circumstances.declines_held and verdict is Verdict.DECLINE:
        verdict = Verdict.REVIEW
        found.insert(0, (Verdict.REVIEW, PolicyReason.DECLINE_RATE.reason))
    if circumstances.approvals_held and verdict is Verdict.APPROVE:
        found.insert(0, (Verdict.REVIEW, PolicyReason.APPROVED_VOLUME.reason))
    if circumstances.over_limit and policy.exposure is not None:
        found.insert(0, (policy.exposure.beyond, PolicyReason.EXPOSURE_LIMIT.reason))
    found += [(stricter, reason) for holds, stricter, reason in policy.checked.rules if holds(facts)]
    if policy.everything != "decide":
        found.append((Verdict(policy.everything), PolicyReason.EVERYTHING.reason))
    chance = circumstances.exploring and not circumstances.approvals_held and verdict is Verdict.DECLINE and not found
    if chance and loss_rate is not None and explores(policy, transaction.event_id, loss_rate):
        return PolicyDecision(Verdict.APPROVE, loss, (PolicyReason.EXPLORATION.reason,))
    for stricter, _ in found:
        verdict = max(verdict, stricter, key=_SEVERITY.__getitem__)
    found.sort(key=lambda item: -_SEVERITY[item[0]])  # stable: the order of the file among equals
    return PolicyDecision(verdict, loss, tuple(reason for _, reason in found))


def _thresholds(policy: Policy, facts: FactsOf) -> Thresholds:
    """Those of the first segment that the purchase is in, or those of all others."""
    return next((own for holds, own in policy.checked.segments if holds(facts)), policy.thresholds)


def _by_loss_rate(thresholds: Thresholds, loss_rate: Decimal) -> Verdict:
    if loss_rate <= thresholds.approve_up_to:
        return Verdict.APPROVE
    return Verdict.REVIEW if loss_rate <= thresholds.decline_above else Verdict.DECLINE


def _fallback(
    policy: Policy, amount: int, currency: str, degraded: str, found: list[tuple[Verdict, Reason]]
) -> Verdict:
    limit = policy.fallback.of(degraded).approve_up_to_usd
    if amount > policy.minor_units_of_usd(limit, currency):
        found.append((Verdict.REVIEW, PolicyReason.FALLBACK_AMOUNT.reason))
    return Verdict.APPROVE


def _exact_share(probability: float) -> Decimal:
    if not 0.0 <= probability <= 1.0:  # false for NaN as well
        raise ValueError(f"a probability lies between 0 and 1, got {probability!r}")
    return Decimal(repr(float(probability)))
