"""How often each caller may ask: a bucket of tokens that fills up steadily."""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable
from dataclasses import dataclass

ROUNDING = 1e-9
"""Of a token: who waited as long as he was told is let in."""


@dataclass(frozen=True, slots=True)
class Rate:
    """Requests per second on average, and how many at once after a pause."""

    per_second: float
    burst: int


@dataclass(slots=True)
class _Bucket:
    tokens: float
    filled_at_s: float


class TokenBuckets:
    """One bucket for each caller. Of one process: behind a balancer each process allows so much."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._buckets: dict[Hashable, _Bucket] = {}

    def take(self, caller: Hashable, rate: Rate, tokens: int = 1, *, taken: int = 0) -> float:
        """Take tokens: 0, or the seconds until there are so many again. Of a full bucket more can be taken than it
        holds, and then it is paid for afterwards: a batch larger than the bucket would never be let in.

        `taken`: for the same request before. A bucket that was full then is full enough for the rest.
        """
        now = self._clock()
        bucket = self._buckets.get(caller)
        if bucket is None:
            bucket = self._buckets[caller] = _Bucket(float(rate.burst), now)
        filled = bucket.tokens + (now - bucket.filled_at_s) * rate.per_second
        bucket.tokens, bucket.filled_at_s = min(float(rate.burst), filled), now
        needed = min(float(tokens), float(rate.burst - taken))
        if bucket.tokens < needed - ROUNDING:
            return (needed - bucket.tokens) / rate.per_second
        bucket.tokens -= tokens
        return 0.0
