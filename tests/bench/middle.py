"""How fast a round went in its middle, by whoever counts: the same span for ours, the peers and the limit.

The beginning belongs to what is only there once (a channel, a table looked up), the end to what waits for company that
doesn't come any more, such as the last batches of a backlog.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

FIRST, LAST = 0.1, 0.9
"""Of a round's rows, where the clock starts and stops."""


class Look(NamedTuple):
    at_s: float
    """By a clock that doesn't jump."""
    rows: float
    """That were acknowledged by then."""


def middle_rate(looks: Sequence[Look], rows: float) -> float:
    """Rows a second, from the first look at a tenth of the round's `rows` to the first at nine tenths.

    Raises AssertionError where both are the same one: too few rows for so few looks.
    """
    first, last = (next(look for look in looks if look.rows >= share * rows) for share in (FIRST, LAST))
    assert last.rows > first.rows, f"{rows} rows between two looks: too few to be timed"
    return (last.rows - first.rows) / (last.at_s - first.at_s)
