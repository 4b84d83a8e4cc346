"""What the last audit of the ledger found, from the report that it left."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime

WORDS = {True: "balanced", False: "not balanced", None: "balanced as far as can be told"}


@dataclass(frozen=True, slots=True)
class Audit:
    verdict: str
    checked_at: datetime
    broken: dict[str, str]
    """Invariants that don't hold: name to what must hold."""


def audit(report: bytes) -> Audit | None:
    """None for what is no report."""
    try:
        found = json.loads(report)
        return Audit(
            WORDS[found["balanced"]],
            datetime.fromisoformat(found["checked_at"]),
            {name: str(one["about"]) for name, one in found["invariants"].items() if one["violations"]},
        )
    except (ValueError, KeyError, TypeError, AttributeError):
        return None
