"""Another policy on logged decisions: the trainer's backtest, with thresholds moved by hand."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal

from services.console.queries.query import Row
from shared.policy import Policy
from shared.policy.backtest import (
    EVERYTHING,
    Group,
    KnownChances,
    Side,
    backtest,
    profit_curve,
    with_known_chances,
)
from shared.policy.economics import Economics
from shared.policy.file import Exploration
from shared.warehouse.logged import logged_case

CENTS = 100


def cases(rows: Sequence[Row], exploration_of: Callable[[str], Exploration | None]) -> KnownChances:
    """Of rows of `queries.cases.matured`."""
    return with_known_chances(map(logged_case, rows), exploration_of)


def moved(policy: Policy, approve_up_to: Decimal, decline_above: Decimal) -> Policy:
    """The policy with other thresholds, under the name that follows from them. Raises ValueError for thresholds that no
    policy may have."""
    values = policy.model_dump(mode="json", exclude_unset=True)
    values["thresholds"] = {"approve_up_to": str(approve_up_to), "decline_above": str(decline_above)}
    return Policy.model_validate(values)


@dataclass(frozen=True, slots=True)
class Figures:
    """Of one way to decide. Money in US dollars' size."""

    approval_rate: float | None
    expected_loss: float
    default_rate: float | None
    """Of those approved whose outcome is known."""
    known: int
    profit: float
    profit_bp: float | None

    @staticmethod
    def of(side: Side, group: Group) -> Figures:
        return Figures(
            approval_rate=side.approved / group.purchases if group.purchases else None,
            expected_loss=float(side.expected_loss_cents) / CENTS,
            default_rate=side.default_rate,
            known=side.known,
            profit=float(side.profit_cents) / CENTS,
            profit_bp=side.profit_bp,
        )


@dataclass(frozen=True, slots=True)
class Trial:
    purchases: int
    changed: int
    logged: Figures
    proposed: Figures
    curve: list[tuple[float, float]]
    """(limit of the probability, earned in basis points of the volume)."""


def trial(known: KnownChances, policy: Policy, economics: Economics) -> Trial:
    """Of one case at least."""
    logged, explored, _ = known
    group = backtest(logged, policy, economics, explored, lambda _: {})[EVERYTHING, ""]
    return Trial(
        group.purchases,
        group.changed,
        Figures.of(group.logged, group),
        Figures.of(group.proposed, group),
        profit_curve(logged, policy, economics, explored),
    )
