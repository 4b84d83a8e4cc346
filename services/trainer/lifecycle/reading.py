"""What a look of the monitor means for training."""

from __future__ import annotations

from services.trainer.lifecycle.triggers import Seen
from services.trainer.monitoring.look import Look
from shared.feature_definitions.windows import MICROS_PER_DAY


def seen_of(look: Look, clock_us: int) -> Seen:
    """A drift began with the earliest window that shows it. A loss began where the evidence for it is strongest: of the
    tests that begin with each week, the one with most evidence dates the change (a maximum-likelihood estimate)."""
    drifted = min((look.until_day - finding.days for finding in look.drifted), default=None)
    worst = max(look.lost, key=lambda loss: loss.evidence - loss.needed, default=None)
    return Seen(
        clock_us=clock_us,
        drifted_from_us=None if drifted is None else drifted * MICROS_PER_DAY,
        lost_from_us=None if worst is None else worst.first_day * MICROS_PER_DAY,
        poisoned=tuple(look.taints),
        held=tuple(look.holds),
    )
