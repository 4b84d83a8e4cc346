"""How fast a round went but for its end, by whoever counts: the same span for ours, the peers and the limit.

The end belongs to what waits for company that doesn't come any more, such as the last batches of a backlog. The
beginning counts: of threads that write side by side all have done most of a batch when the first one's is acknowledged,
and who has few batches in a round would get the others' for nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

LAST = 0.9
"""Of a round's rows, where the clock stops."""


class Look(NamedTuple):
    at_s: float
    """By a clock that doesn't jump."""
    rows: float
    """That were acknowledged by then."""


def rate_of_most(looks: Sequence[Look], rows: float) -> float:
    """Rows a second, from the first look, at none, to the first at nine tenths of the round's `rows`.

    Raises AssertionError where these two are all: too few rows for so few looks.
    """
    first, last = looks[0], next(look for look in looks if look.rows >= LAST * rows)
    assert looks.index(last) > 1, f"{rows} rows between two looks: too few to be timed"
    return (last.rows - first.rows) / (last.at_s - first.at_s)
