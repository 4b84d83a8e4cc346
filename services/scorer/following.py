"""Whether states follow what this process puts on bnpl-transactions. Pure but for its clock.

States are those of a position in the log, and nothing in Redis says how old that is: where the features service stands
still, they look as fresh as ever, and a customer could buy again and again as if for the first time. What was put on
the log here, and isn't in the states a while later, tells.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable

BEHIND_S = 30.0
"""Several times what a features service takes to be started again, or to hand its partitions over."""

SAMPLES = 30
"""In the time that states may be behind: of the purchases in between, none is needed."""

FORGOTTEN_AFTER_S = 86_400.0
"""Of a log that was made anew, whose offsets states may take long to reach again."""


class Following:
    """Of each partition some of the purchases that were put there, by offset and time."""

    def __init__(self, behind_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        """`behind_s`: what states may lack before they count as behind."""
        self._behind_s = behind_s
        self._clock = clock
        self._published: dict[int, deque[tuple[int, float]]] = {}

    def published(self, partition: int, offset: int) -> None:
        """A purchase is on the log there."""
        known, now = self._published.setdefault(partition, deque()), self._clock()
        if known and offset < known[-1][0]:
            known.clear()  # the log was made anew, or lost its end
        if not known or now - known[-1][1] >= self._behind_s / SAMPLES:
            known.append((offset, now))

    def behind(self, partition: int, done: int) -> int | None:
        """The offset of a purchase that the features service hasn't taken in for a while: a decision would be made as
        if it hadn't come. `done`: the offset up to which the partition's purchases are in the states."""
        known, now = self._published.get(partition), self._clock()
        while known and (known[0][0] <= done or now - known[0][1] > FORGOTTEN_AFTER_S):
            known.popleft()
        return known[0][0] if known and now - known[0][1] > self._behind_s else None
