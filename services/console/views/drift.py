"""How far features have moved from what the model learnt from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from services.console.queries.query import Row


@dataclass(frozen=True, slots=True)
class Look:
    """One comparison of a model's training window with a later one."""

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


def course(found: Sequence[Look], feature: str) -> list[tuple[datetime, float]]:
    """A feature's score over time, the oldest look first."""
    return [(look.evaluated_at, look.scores[feature]) for look in reversed(found) if feature in look.scores]
