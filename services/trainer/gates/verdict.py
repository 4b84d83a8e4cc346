"""What a gate says of a candidate."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

INTEGRITY, PARITY, LEAKAGE, LATENCY, MISMATCH = "integrity", "parity", "leakage", "latency", "feature-mismatch"
PERFORMANCE, CALIBRATION, STABILITY, FAIRNESS = "performance", "calibration", "stability", "fairness"

WITHOUT_CHAMPION = frozenset({INTEGRITY, PARITY, LEAKAGE, LATENCY})
"""That a first model has to pass as well. Whether a model is worth more than the one in service is no question where
there is none: the alternative is the policy's fallback."""

SHOWN = 3
"""Faults of one gate that are told; the rest are counted."""


@dataclass(frozen=True)
class GateVerdict:
    gate: str
    passed: bool
    figures: str
    """What was found and what was allowed, for people."""

    def __str__(self) -> str:
        return f"{self.gate}: {self.figures}"


def of_faults(gate: str, faults: Iterable[str], sound: str) -> GateVerdict:
    """Passed, with the words in `sound`, where there is no fault."""
    found = list(faults)
    if not found:
        return GateVerdict(gate, True, sound)
    more = f"; and {len(found) - SHOWN} more" if len(found) > SHOWN else ""
    return GateVerdict(gate, False, "; ".join(found[:SHOWN]) + more)
