"""How much of a topic may be refused before it is left alone: one producer gone wrong shall not dead-letter it all."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass

WINDOW_S = 60


class TooManyRefused(Exception):
    """Of a topic. The batch was not taken in, and none of its letters were sent."""

    def __init__(self, topic: str, refused: int, records: int) -> None:
        super().__init__(f"{refused} of the last {records} records of {topic} would be refused")
        self.topic, self.refused, self.records = topic, refused, records


@dataclass(slots=True)
class _Second:
    at: int
    records: int = 0
    refused: int = 0


class RefusalLimit:
    """Counts by topic over the last minute. The share alone would stop at the first bad record of a quiet hour, the
    count alone at a few bad ones in a million."""

    def __init__(self, max_share: float, per_minute: int, clock: Callable[[], float] = time.monotonic) -> None:
        """`max_share`: of the records; `per_minute`: refusals up to which the share doesn't matter, 0 for no limit."""
        self._max_share = max_share
        self._per_minute = per_minute
        self._clock = clock
        self._seconds: dict[str, deque[_Second]] = {}

    def check(self, counts: Mapping[str, tuple[int, int]]) -> None:
        """Topic → records and refusals of what is to be taken in now. Raises TooManyRefused; its minute begins anew.

        What passes the limit is still let through: else a batch that passes it alone would never be.
        """
        if not self._per_minute:
            return
        now = int(self._clock())
        for topic, (records, refused) in counts.items():
            seconds = self._seconds.setdefault(topic, deque())
            while seconds and seconds[0].at <= now - WINDOW_S:
                seconds.popleft()
            refused_before = sum(one.refused for one in seconds)
            whole = refused + refused_before, records + sum(one.records for one in seconds)
            if refused and refused_before >= self._per_minute and whole[0] > self._max_share * whole[1]:
                seconds.clear()
                raise TooManyRefused(topic, *whole)
        # Only now: where one topic is stopped nothing of the others is taken in either, and comes again.
        for topic, (records, refused) in counts.items():
            seconds = self._seconds[topic]
            if not seconds or seconds[-1].at != now:
                seconds.append(_Second(now))
            seconds[-1].records += records
            seconds[-1].refused += refused
