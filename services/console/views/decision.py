"""One decision: what raised and lowered the risk, and the customer's own past."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from services.console.queries.query import Row

SHOWN_BARS = 12
"""Contributions in the chart; the table has all."""


@dataclass(frozen=True, slots=True)
class Bar:
    """One step from the base value to the raw log-odds."""

    label: str
    value: float | None
    """Of the feature; None for a sum of several, and where it is missing."""
    contribution: float
    """In log-odds: above 0 it raised the risk."""


@dataclass(frozen=True, slots=True)
class Explained:
    base: float
    bars: Sequence[Bar]
    """The weightiest first, all others as one at the end: with the base they add up to the raw log-odds."""
    raw_probability: float

    @property
    def log_odds(self) -> float:
        return self.base + math.fsum(bar.contribution for bar in self.bars)


def explained(answer: Mapping[str, Any]) -> Explained | None:
    """Of the scorer's explanation; None where no model was asked."""
    if answer.get("base_value") is None:
        return None
    ranked = sorted(answer["contributions"], key=lambda part: -abs(part["contribution"]))
    bars = [Bar(part["feature"], part["value"], part["contribution"]) for part in ranked[:SHOWN_BARS]]
    rest = ranked[SHOWN_BARS:]
    if rest:
        bars.append(Bar(f"{len(rest)} others", None, math.fsum(part["contribution"] for part in rest)))
    return Explained(answer["base_value"], bars, answer["raw_probability"])


@dataclass(frozen=True, slots=True)
class FeatureLine:
    name: str
    value: float | None
    contribution: float | None
    """None where nothing explains it."""
    unit: str
    why: str


def features(stored: Mapping[str, float | None], answer: Mapping[str, Any] | None) -> list[FeatureLine]:
    """Every feature that was known, those that raised the risk most first; those that the model doesn't read last."""
    parts = {part["feature"]: part for part in (answer or {}).get("contributions", ())}
    lines = [
        FeatureLine(
            name,
            value,
            parts[name]["contribution"] if name in parts else None,
            (parts.get(name, {}).get("unit")) or "",
            (parts.get(name, {}).get("why")) or "",
        )
        for name, value in stored.items()
    ]
    return sorted(lines, key=lambda line: (line.contribution is None, -(line.contribution or 0.0), line.name))


@dataclass(frozen=True, slots=True)
class PastPurchase:
    event_id: str
    occurred_at: datetime
    amount: Decimal | None
    currency: str | None
    decision: str | None
    outcome: str
    """`repaid`, `defaulted`, or empty: not known."""


def history(purchases: Sequence[Row], decisions: Sequence[Row], outcomes: Sequence[Row]) -> list[PastPurchase]:
    """A customer's purchases with what was decided and what became of them, in the order of the purchases. Under the
    same event id somebody else's may have been decided: that one lies in another partition."""
    verdicts = {(row["event_id"], row["kafka_partition"]): row["decision"] for row in decisions}
    known = {(row["event_id"], row["home"]): "defaulted" if row["defaulted"] else "repaid" for row in outcomes}
    return [
        PastPurchase(
            row["event_id"], row["occurred_at"], row["amount"], row["currency"],
            verdicts.get((row["event_id"], row["home"])), known.get((row["event_id"], row["home"]), ""),
        )
        for row in purchases
    ]  # fmt: skip
