"""How far features have moved from what the model learnt from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from services.console.queries.query import Row


@dataclass(frozen=True, slots=True)
class Comparison:
    """What the last days are held against."""

    days: int
    """How many of the last days; 0: as many as whoever asked `drift` wanted."""
    against: str
    """`reference`, `before`, or '' of `drift`."""

    @property
    def other(self) -> str:
        return f"the {self.days} days before" if self.against == "before" else "the training window"

    @property
    def score(self) -> str:
        """What its figures are."""
        return "population stability index" if self.days else "Wasserstein's distance, in deviations"

    def __str__(self) -> str:
        return f"{self.days} days against {self.other}" if self.days else f"On demand, against {self.other}"


@dataclass(frozen=True, slots=True)
class Look:
    """One comparison of some days with others."""

    evaluated_at: datetime
    model_version: str
    window: str
    events: int
    scores: dict[str, float]
    """By feature, the largest first."""
    drifted: list[str]


def looks(rows: Sequence[Row]) -> list[Look]:
    """The latest first. Rows of one look share its time and its model."""
    found: dict[tuple[datetime, str], list[Row]] = {}
    for row in rows:
        found.setdefault((row["evaluated_at"], row["model_version"]), []).append(row)
    return [
        _look(at, version, mine)
        for (at, version), mine in sorted(found.items(), key=lambda item: item[0][0], reverse=True)
    ]


def _look(at: datetime, version: str, rows: Sequence[Row]) -> Look:
    ranked = sorted(rows, key=lambda row: (-(row["score"] or 0.0), row["feature"]))
    first = rows[0]
    window = f"{first['window_from']:%Y-%m-%d} to {first['window_to']:%Y-%m-%d}" if first["window_from"] else "unknown"
    return Look(
        at,
        version,
        window,
        first["events"] or 0,
        {row["feature"]: row["score"] or 0.0 for row in ranked},
        [row["feature"] for row in ranked if row["drifted"]],
    )


def of_one_reference(found: Sequence[Look]) -> list[Look]:
    """Those of the latest look's model: a step from one training window to another is no drift."""
    return [look for look in found if look.model_version == found[0].model_version]


def course(found: Sequence[Look], feature: str) -> list[tuple[datetime, float]]:
    """A feature's score over time, the oldest look first."""
    return [(look.evaluated_at, look.scores[feature]) for look in reversed(found) if feature in look.scores]
