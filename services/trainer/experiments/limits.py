"""What is configured of the guardrails. Apart, since settings need it and no statistics."""

from __future__ import annotations

from dataclasses import dataclass, replace

from shared.experiments import Stricter


@dataclass(frozen=True)
class Limits:
    """How much worse than the champion an arm may be. Rates as differences, such as 0.05: five in a hundred
    customers."""

    alpha: float
    """The chance that a harmless experiment is ever stopped."""
    declines: float
    """More declined."""
    slow: float
    """More that took longer than `slow_seconds`."""
    slow_seconds: float
    miscalibration: float
    """In log-odds: how far defaults may lie from what the arm's probabilities said."""
    approval_by_group: float
    """Fewer approved, within one age bracket or state."""

    def beyond(self, accepted: Stricter) -> Limits:
        """For a candidate that was let in as so much stricter."""
        return replace(
            self,
            declines=self.declines + accepted.declined,
            approval_by_group=self.approval_by_group + accepted.not_approved,
        )
