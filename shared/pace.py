"""How soon a loop begins its next round: at a pace while the machine has room, later while it has none.

A round costs much the same, whether it brings one record or ten: requests to Kafka and Redis, turns of the event loop.
Where processes wait for the processor, rounds that follow each other as soon as they can take it from those that come
behind them, and each record waits for all of them. So the longer a process has waited for the processor in its latest
rounds, by the kernel's own count, the later it begins the next one, which brings more.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

TIMES_WAITED = 4.0
"""Measured (ADR 0060): eight times is better where nothing but the processor is lacking, and worse below."""

LATEST = 0.2
"""What the latest round weighs among those before it."""

SCHEDSTAT = Path("/proc/self/schedstat")
"""Nanoseconds on the processor, those in the queue for it, and turns: of the main thread (Linux, sched-stats.rst)."""


def waited_for_processor_s() -> float:
    """Seconds in which the main thread could have run, and others did; 0 where the kernel doesn't count them."""
    try:
        return int(SCHEDSTAT.read_bytes().split()[1]) / 1e9
    except (OSError, IndexError, ValueError):
        return 0.0


class Pace:
    """Of one loop."""

    def __init__(
        self,
        shortest_s: float,
        longest_s: float,
        *,
        clock: Callable[[], float] = time.monotonic,
        waited_s: Callable[[], float] = waited_for_processor_s,
    ) -> None:
        """Between the beginnings of two rounds lie at least `shortest_s`, and never more than `longest_s` on purpose.
        `waited_s`: for the processor, in all so far."""
        self._shortest_s, self._longest_s = shortest_s, longest_s
        self._clock, self._waited_s = clock, waited_s
        self._began_s = float("-inf")
        self._waited_before_s: float | None = None
        self._waits_s = 0.0
        """In one of the latest rounds."""

    def rest_s(self) -> float:
        """Seconds until the next round may begin; none are left where it isn't above 0."""
        apart_s = min(self._longest_s, max(self._shortest_s, TIMES_WAITED * self._waits_s))
        return self._began_s + apart_s - self._clock()

    def begin(self) -> None:
        """A round begins now."""
        waited_s = self._waited_s()
        if self._waited_before_s is not None:
            # A machine that stood still for a second says nothing about the rounds to come.
            latest_s = min(waited_s - self._waited_before_s, self._longest_s)
            self._waits_s += LATEST * (latest_s - self._waits_s)
        self._waited_before_s = waited_s
        self._began_s = self._clock()
