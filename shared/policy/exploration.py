"""Purchases that are approved by chance, to learn from what the score would turn away. Pure.

Of a declined purchase nobody ever learns whether it would have been repaid, so a model trained on what was approved
only sees its own choice (Lakkaraju et al., "The selective labels problem", 2017). A small share of the would-be
declines, approved at random with a known probability, keeps the others in view: in training and evaluation each stands
for 1 / propensity of its kind (Horvitz and Thompson, "A generalization of sampling without replacement from a finite
universe", 1952).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from decimal import Decimal

from shared.contracts.events import Reason
from shared.experiments import bucket
from shared.policy.file import Exploration, Policy
from shared.policy.reasons import PolicyReason

Propensity = Callable[[str], float]
"""Of a policy, by its name: the probability with which it approved what it approved by chance. May raise where that
can't be told."""


def explores(policy: Policy, event_id: str, loss_rate: Decimal) -> bool:
    """Whether a purchase that the score would decline is one of the chosen ones. The same at both doors, and for ever;
    the salt keeps anybody from choosing an id that is."""
    exploration = policy.exploration
    if exploration is None or loss_rate > exploration.up_to_loss_rate:
        return False
    return bucket(exploration.salt, event_id) < float(exploration.share)


def was_explored(reasons: Sequence[Reason]) -> bool:
    """Whether a decision with these reasons was made by chance."""
    return any(reason.code == PolicyReason.EXPLORATION.reason.code for reason in reasons)


def exploration_of(policy: Policy) -> Exploration:
    """How purchases were chosen that were approved by chance. `policy`: the one that decided. Raises ValueError."""
    if policy.exploration is None:
        raise ValueError(f"policy {policy.name} explores nothing")
    return policy.exploration


def propensity(policy: Policy) -> float:
    """The probability with which a purchase was approved that was approved by chance. `policy`: the one that
    decided. Raises ValueError."""
    return float(exploration_of(policy).share)


def stands_for(logged: Exploration, again: Exploration | None) -> Decimal:
    """How many purchases of its kind one stands for that was approved by chance.

    `again`: how another policy explores, where it approves this one by chance as well; None where it approves it for
    another reason. The kind is as many as `logged` could choose from: all of them, or the share of them that the other
    one would have chosen, of whom those are known whom both choose. With the same salt that is everybody whom the
    smaller share takes.
    """
    if again is None or again.salt != logged.salt:
        return 1 / logged.share
    return again.share / min(logged.share, again.share)
