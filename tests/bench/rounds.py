"""How many rounds a benchmark takes: as many as are wanted, fewer where they are slow."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

FEWEST = 3
"""That have a median."""

ENOUGH_S = 120.0
"""In the rounds of one benchmark. A whole run has to end within half an hour."""


def numbered(most: int, *, warming_up: int = 0, clock: Callable[[], float] = time.monotonic) -> Iterator[int]:
    """0, 1, … for so many rounds, and as many more for warming up. Once they have taken `ENOUGH_S`, there are no more
    than `FEWEST` of them."""
    began = clock()
    for number in range(warming_up + most):
        if number >= warming_up + FEWEST and clock() - began > ENOUGH_S:
            return
        yield number
