"""What no model may look at: the same list that the policy's rules are held to."""

from __future__ import annotations

from collections.abc import Iterable

from services.trainer.examples import TrainingRefused
from shared.policy.facts import PROHIBITED

_BLOCK = "customer_"

BASES = frozenset(name.removeprefix(_BLOCK) for name in PROHIBITED)
"""As fields of the purchase's `customer`: `age_bracket`, `state`."""

_WORDS = {base: frozenset({base.split("_")[0]}) for base in BASES}
"""A feature whose name has that word is taken to be made of the base: `state_rank`, `is_state_ca`, `age`."""


def prohibited(names: Iterable[str]) -> dict[str, str]:
    """Each feature that says it is made of a prohibited basis, and of which.

    By name alone, since a vector no longer tells what its numbers were made of; that no declared feature changes with
    the bases themselves is tested where features are made.
    """
    found = {}
    for name in names:
        words = set(name.lower().split("_"))
        for base, marks in _WORDS.items():
            if marks & words:
                found[name] = base
    return found


def check_inputs(names: Iterable[str]) -> None:
    """Raises TrainingRefused where a model would look at a prohibited basis."""
    for name, base in prohibited(names).items():
        raise TrainingRefused(
            f"{name} is made of {base.replace('_', ' ')}, a prohibited basis of a credit decision: no model may use it"
        )
