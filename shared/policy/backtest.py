"""What another policy or model would have decided on logged purchases, and what that would have been worth.

A purchase that was declined has no repayment to learn from, so figures of what would newly be approved stand on those
with a known outcome alone, and say how many these are. Each that was approved by chance stands for its kind there (see
`exploration`). Pure.

Rates are of the decisions; money is of what comes about in the end, whoever approved it (`_comes_about`).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import NamedTuple

from shared.contracts.events import Transaction, Verdict
from shared.contracts.money import minor_units
from shared.policy.circumstances import ORDINARY, Circumstances
from shared.policy.decide import apply
from shared.policy.economics import BASIS_POINTS, Economics
from shared.policy.exploration import stands_for, was_explored
from shared.policy.file import Exploration, Policy

VERDICTS = (Verdict.APPROVE, Verdict.REVIEW, Verdict.DECLINE)
NO_SCORE = "no_model"
"""For a purchase that nobody gave a probability: the policy's fallback decides again."""

EVERYTHING = "all purchases"
ITSELF = Decimal(1)
"""What most purchases stand for."""


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
    circumstances: Circumstances = ORDINARY
    """As far as they changed the decision. It is decided again in the same: whoever was beyond his limit still is, and
    what was approved by chance is again, where the policy has it so."""
    explored_under: str | None = None
    """The policy that approved it by chance, where nobody would know of its kind otherwise."""
    reviewed: Verdict | None = None
    """What a reviewer said last; None where nobody did."""
    cancelled: bool = False
    """The checkout called it off."""


Explored = Mapping[str, Exploration]
"""Name of a policy → how it chose the purchases that it approved by chance."""
NOTHING: Explored = {}


class Chances:
    """How policies explored, asked once for each, as cases go by.

    Where nobody knows how a policy explored, nobody knows for how many purchases those stand that it approved by
    chance: they are taken as if their outcome weren't known.
    """

    def __init__(self, exploration_of: Callable[[str], Exploration | None]) -> None:
        """`exploration_of`: of a policy, by its name; None where it isn't kept any more."""
        self._exploration_of = exploration_of
        self._asked: set[str] = set()
        self._explored: dict[str, Exploration] = {}
        self.unknown = 0
        """Of how many outcomes so far it isn't known for how many purchases they stand."""

    @property
    def explored(self) -> Explored:
        """Of the cases so far: it grows with them."""
        return self._explored

    def of(self, cases: Iterable[LoggedCase]) -> Iterator[LoggedCase]:
        for case in cases:
            if case.explored_under is None or self._known(case.explored_under):
                yield case
            else:
                self.unknown += case.defaulted is not None
                yield replace(case, defaulted=None, explored_under=None)

    def _known(self, policy: str) -> bool:
        if policy not in self._asked:
            self._asked.add(policy)
            exploration = self._exploration_of(policy)
            if exploration is not None:
                self._explored[policy] = exploration
        return policy in self._explored


class KnownChances(NamedTuple):
    cases: list[LoggedCase]
    explored: Explored
    """How each policy explored that approved one of them by chance."""
    unknown: int
    """Of how many that isn't known."""


def with_known_chances(
    cases: Iterable[LoggedCase], exploration_of: Callable[[str], Exploration | None]
) -> KnownChances:
    """All at once (`Chances`)."""
    chances = Chances(exploration_of)
    taken = list(chances.of(cases))
    return KnownChances(taken, chances.explored, chances.unknown)


@dataclass
class Side:
    """One way to decide: what it lets through. Amounts in cents, of the size of US dollars."""

    approved: int = 0
    """By the decision itself, whatever came of it."""
    approved_cents: Decimal = Decimal(0)
    """Of what comes about in the end; so are the figures that follow."""
    expected_loss_cents: Decimal = Decimal(0)
    known: int = 0
    """With a known outcome."""
    known_by_review: int = 0
    """Of these, approved by a reviewer: whose outcome is known there was his choice, so that they are better than their
    kind."""
    stood_for: Decimal = Decimal(0)
    """How many purchases these stand for; so do the figures that follow."""
    known_cents: Decimal = Decimal(0)
    defaults: Decimal = Decimal(0)
    profit_cents: Decimal = Decimal(0)
    """Earned on those with a known outcome, by the assumptions of Economics."""

    def take(
        self, case: LoggedCase, cents: Decimal, loss_rate: Decimal | None, economics: Economics, weight: Decimal
    ) -> None:
        """A case that comes about. `weight`: how many purchases its outcome stands for."""
        self.approved_cents += cents
        self.expected_loss_cents += (loss_rate or Decimal(0)) * cents
        if case.defaulted is not None:
            self.known += 1
            self.known_by_review += case.reviewed is Verdict.APPROVE
            self.stood_for += weight
            self.known_cents += weight * cents
            self.defaults += weight * case.defaulted
            self.profit_cents += weight * _earned(cents, case.defaulted, economics)

    @property
    def default_rate(self) -> float | None:
        """Of those with a known outcome."""
        return float(self.defaults / self.stood_for) if self.stood_for else None

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
    cases: Iterable[LoggedCase],
    policy: Policy,
    economics: Economics,
    explored: Explored = NOTHING,
    segments: Segments = segments_of,
) -> dict[tuple[str, str], Group]:
    """(dimension, value) to its purchases; `(EVERYTHING, "")` to all of them.

    `cases`: with the probability that is to be decided on, the logged one or another model's. `explored`: of the
    policies that approved some of them by chance (KeyError for another one). What was logged is counted as it was:
    these stand for themselves there. Expected loss is by that probability and this policy on both sides, so that the
    difference is of what is approved.
    """
    groups: dict[tuple[str, str], Group] = {(EVERYTHING, ""): Group()}
    for case in cases:
        transaction = case.transaction
        degraded = None if case.probability is not None else case.degraded or NO_SCORE
        again = apply(policy, transaction, case.features, case.probability, degraded, case.circumstances)
        verdict = again.decision
        weight = _weight(case, explored, policy.exploration if was_explored(again.policy_reasons) else None)
        cents = _cents(transaction, policy)
        loss_rate = None if case.probability is None else Decimal(repr(case.probability)) * policy.loss_given_default
        for key in ((EVERYTHING, ""), *segments(transaction).items()):
            group = groups.setdefault(key, Group())
            group.purchases += 1
            group.cents += cents
            group.moves[case.decision, verdict] = group.moves.get((case.decision, verdict), 0) + 1
            if verdict is not case.decision:
                group.customers.add(transaction.customer_id)
            sides = ((group.logged, case.decision, ITSELF), (group.proposed, verdict, weight))
            for side, decided, times in sides:
                side.approved += decided is Verdict.APPROVE
                if _comes_about(case, decided):
                    side.take(case, cents, loss_rate, economics, times)
    return groups


def _comes_about(case: LoggedCase, decided: Verdict) -> bool:
    """Whether the purchase is lent in the end where it is decided so.

    In review it is where a reviewer approved it, and isn't where nobody has: of one that nobody looked at nobody knows
    what would have been said. Decided as it was it ends as it did, also where a reviewer turned an approval or a
    decline around. What was called off is called off again.
    """
    if case.cancelled:
        return False
    if case.reviewed is not None and decided in (case.decision, Verdict.REVIEW):
        return case.reviewed is Verdict.APPROVE
    return decided is Verdict.APPROVE


class ProfitCurve:
    """What approving everything up to a limit of the probability would have earned."""

    def __init__(self, policy: Policy, economics: Economics, explored: Explored = NOTHING) -> None:
        """`explored`: as of `backtest`."""
        self._policy, self._economics, self._explored = policy, economics, explored
        self._seen: list[tuple[float, Decimal, bool]] = []

    def noting(self, cases: Iterable[LoggedCase]) -> Iterator[LoggedCase]:
        """The same cases, as they go by: three values of each are kept."""
        for case in cases:
            if case.probability is not None and case.defaulted is not None:
                cents = _weight(case, self._explored) * _cents(case.transaction, self._policy)
                self._seen.append((case.probability, cents, case.defaulted))
            yield case

    def points(self) -> list[tuple[float, float]]:
        """(limit, earned in basis points of the volume with a known outcome), one for each hundredth of the cases."""
        ranked = sorted(self._seen)
        volume = sum((cents for _, cents, _ in ranked), Decimal(0))
        earned, points = Decimal(0), [(0.0, 0.0)]
        step = max(1, len(ranked) // 100)
        for number, (probability, cents, defaulted) in enumerate(ranked, 1):
            earned += _earned(cents, defaulted, self._economics)
            if number % step == 0 or number == len(ranked):
                points.append((probability, float(earned / volume) * BASIS_POINTS))
        return points


def profit_curve(
    cases: Iterable[LoggedCase], policy: Policy, economics: Economics, explored: Explored = NOTHING
) -> list[tuple[float, float]]:
    """Of all cases at once (`ProfitCurve`)."""
    curve = ProfitCurve(policy, economics, explored)
    deque(curve.noting(cases), maxlen=0)
    return curve.points()


def _weight(case: LoggedCase, explored: Explored, again: Exploration | None = None) -> Decimal:
    """How many purchases the case's outcome stands for. `again`: as of `stands_for`."""
    return ITSELF if case.explored_under is None else stands_for(explored[case.explored_under], again)


def _cents(transaction: Transaction, policy: Policy) -> Decimal:
    minor, _ = minor_units(transaction.amount, transaction.currency)
    return policy.usd_of_minor_units(minor, transaction.currency) * 100


def _earned(cents: Decimal, defaulted: bool, economics: Economics) -> Decimal:
    return Decimal(repr(-economics.loss_on_default if defaulted else economics.margin_on_good)) * cents
