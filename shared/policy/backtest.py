"""What another policy or model would have decided on logged purchases, and what that would have been worth.

A purchase that was declined has no repayment to learn from, so figures of what would newly be approved stand on those
with a known outcome alone, and say how many these are. Pure.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal

from shared.contracts.events import Transaction, Verdict
from shared.contracts.money import minor_units
from shared.policy.decide import apply
from shared.policy.economics import BASIS_POINTS, Economics
from shared.policy.file import Policy

VERDICTS = (Verdict.APPROVE, Verdict.REVIEW, Verdict.DECLINE)
NO_SCORE = "no_model"
"""For a purchase that nobody gave a probability: the policy's fallback decides again."""

EVERYTHING = "all purchases"


@dataclass(frozen=True, slots=True)
class LoggedCase:
    """A purchase as it was decided."""

    transaction: Transaction
    features: Mapping[str, float | None]
    decision: Verdict
    probability: float | None
    degraded: str | None
    defaulted: bool | None
    """None: not known yet, or never to be known."""


@dataclass
class Side:
    """One way to decide: what it lets through. Amounts in cents, of the size of US dollars."""

    approved: int = 0
    approved_cents: Decimal = Decimal(0)
    expected_loss_cents: Decimal = Decimal(0)
    known: int = 0
    """Approved with a known outcome."""
    known_cents: Decimal = Decimal(0)
    defaults: int = 0
    profit_cents: Decimal = Decimal(0)
    """Earned on those with a known outcome, by the assumptions of Economics."""

    def take(self, cents: Decimal, loss_rate: Decimal | None, defaulted: bool | None, economics: Economics) -> None:
        self.approved += 1
        self.approved_cents += cents
        self.expected_loss_cents += (loss_rate or Decimal(0)) * cents
        if defaulted is not None:
            self.known += 1
            self.known_cents += cents
            self.defaults += defaulted
            self.profit_cents += _earned(cents, defaulted, economics)

    @property
    def profit_bp(self) -> float | None:
        """Of the volume with a known outcome."""
        return float(self.profit_cents / self.known_cents) * BASIS_POINTS if self.known_cents else None


@dataclass
class Group:
    """Purchases of one segment, decided both ways."""

    purchases: int = 0
    cents: Decimal = Decimal(0)
    logged: Side = field(default_factory=Side)
    proposed: Side = field(default_factory=Side)
    moves: dict[tuple[Verdict, Verdict], int] = field(default_factory=dict)
    """(logged, proposed) to how many."""
    customers: set[str] = field(default_factory=set)
    """Whose decision would have changed."""

    @property
    def changed(self) -> int:
        return sum(count for (one, other), count in self.moves.items() if one is not other)


Segments = Callable[[Transaction], Mapping[str, str]]


def segments_of(transaction: Transaction) -> dict[str, str]:
    """Dimension to the purchase's value of it."""
    product, customer, plan = transaction.product, transaction.customer, transaction.installments
    return {
        "product category": (product and product.category) or "unknown",
        "credit score range": (customer and customer.credit_score_range) or "unknown",
        "instalments": str(plan.count) if plan and plan.count is not None else "unknown",
        "currency": transaction.currency,
    }


def backtest(
    cases: Iterable[LoggedCase], policy: Policy, economics: Economics, segments: Segments = segments_of
) -> dict[tuple[str, str], Group]:
    """(dimension, value) to its purchases; `(EVERYTHING, "")` to all of them.

    `cases`: with the probability that is to be decided on, the logged one or another model's.
    """
    groups: dict[tuple[str, str], Group] = {(EVERYTHING, ""): Group()}
    for case in cases:
        transaction = case.transaction
        degraded = None if case.probability is not None else case.degraded or NO_SCORE
        verdict = apply(policy, transaction, case.features, case.probability, degraded).decision
        cents = _cents(transaction, policy)
        loss_rate = None if case.probability is None else Decimal(repr(case.probability)) * policy.loss_given_default
        for key in ((EVERYTHING, ""), *segments(transaction).items()):
            group = groups.setdefault(key, Group())
            group.purchases += 1
            group.cents += cents
            group.moves[case.decision, verdict] = group.moves.get((case.decision, verdict), 0) + 1
            if verdict is not case.decision:
                group.customers.add(transaction.customer_id)
            for side, decision in ((group.logged, case.decision), (group.proposed, verdict)):
                if decision is Verdict.APPROVE:
                    side.take(cents, loss_rate, case.defaulted, economics)
    return groups


def profit_curve(cases: Iterable[LoggedCase], policy: Policy, economics: Economics) -> list[tuple[float, float]]:
    """(limit of the probability, earned in basis points of the volume with a known outcome) where everything up to the
    limit is approved; one point for each hundredth of the cases."""
    ranked = sorted(
        (case.probability, _cents(case.transaction, policy), case.defaulted)
        for case in cases
        if case.probability is not None and case.defaulted is not None
    )
    volume = sum((cents for _, cents, _ in ranked), Decimal(0))
    earned, points = Decimal(0), [(0.0, 0.0)]
    step = max(1, len(ranked) // 100)
    for number, (probability, cents, defaulted) in enumerate(ranked, 1):
        earned += _earned(cents, defaulted, economics)
        if number % step == 0 or number == len(ranked):
            points.append((probability, float(earned / volume) * BASIS_POINTS))
    return points


def _cents(transaction: Transaction, policy: Policy) -> Decimal:
    minor, _ = minor_units(transaction.amount, transaction.currency)
    return policy.usd_of_minor_units(minor, transaction.currency) * 100


def _earned(cents: Decimal, defaulted: bool, economics: Economics) -> Decimal:
    return Decimal(repr(-economics.loss_on_default if defaulted else economics.margin_on_good)) * cents
