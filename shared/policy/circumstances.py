"""What a decision depends on beside the purchase, its features and its score. Pure.

Each leaves its reason on the decision, so that the decision alone tells how it came about, and can be made again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from shared.contracts.events import Reason
from shared.policy.reasons import PolicyReason


@dataclass(frozen=True, slots=True)
class Circumstances:
    over_limit: bool = False
    """The purchase doesn't stay within its customer's exposure limit."""
    declines_held: bool = False
    """More than the limiter allows is being declined: a person looks instead."""
    approvals_held: bool = False
    """More than the limiter allows was approved lately: a person looks first."""
    exploring: bool = False
    """There is budget for purchases that are approved by chance."""


ORDINARY = Circumstances()


def circumstances_of(reasons: Sequence[Reason]) -> Circumstances:
    """Those that a decision with these reasons was made in, as far as they changed it."""
    codes = {reason.code for reason in reasons}
    return Circumstances(
        over_limit=PolicyReason.EXPOSURE_LIMIT.reason.code in codes,
        declines_held=PolicyReason.DECLINE_RATE.reason.code in codes,
        approvals_held=PolicyReason.APPROVED_VOLUME.reason.code in codes,
        exploring=PolicyReason.EXPLORATION.reason.code in codes,
    )
