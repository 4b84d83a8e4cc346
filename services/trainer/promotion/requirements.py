"""What is configured of the ladder. Apart, since settings need it and no statistics."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Requirements:
    """Days are of event time: in a replay of history that, not the wall clock, says how much a model has seen."""

    alpha: float
    """The chance that a candidate that is no worse than the champion is ever thrown out at one stage, however often it
    is looked at."""
    shadow_decisions: int
    shadow_days: float
    canary_share: float
    canary_customers: int
    canary_decisions: int
    canary_days: float
    probation_decisions: int
    probation_days: float
    settle_seconds: float
    """From a step on, until the decisions made count: scorers learn of it within that time."""
