"""How many checkouts are in work at once: as many as are answered in time, and no more.

Beyond what the machine can do, letting more in answers no more of them: each only waits longer, until all are too late.
How many it can do depends on the machine, on its neighbours and on the stream, so it is found by trying, as TCP does
(Jacobson, "Congestion avoidance and control", 1988; Chiu and Jain, "Analysis of the increase and decrease algorithms
for congestion avoidance in computer networks", 1989). It starts with a few places; each answer in time adds one, until
the first late one. That cuts the places in the proportion of its lateness, to half at most, once for all that were in
work together, and from then on an answer in time adds its share of one place. What was found is forgotten after a while
in which nobody needed it: a crowd that comes then would be let in on old news.

All of this is about the process's own time. While Kafka or Redis is slow, requests wait without costing anything, and
turning them away would help nobody: then there are as many places as there can be at all. The two are told apart by
whether the event loop itself is late.

Where it isn't, and people have to be turned away all the same, either each takes its time, as with a slow network, and
more at once are answered more often; or they stand in a queue, as on a machine that does all it can, and more at once
only wait longer. So from then on there are as many places as are answered in time at the pace of now (Little, "A proof
for the queuing formula: L = λW", 1961); or, where even one of few takes longer than that, as many as keep the pace up
with room to grow, as BBR has it for packets (Cardwell et al., "BBR: Congestion-based congestion control", 2016).
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager

from services.scorer.metrics import ADMISSION_LIMIT, IN_FLIGHT

FEWEST = 16
"""Places that are always there: as many lanes as a checkout usually keeps, and enough that the machine doesn't wait for
Kafka and Redis."""
FIRST = 32
"""Places at the start: more than an ordinary moment needs, and few enough that a crowd's first ones aren't all late."""
BUSY_S = 0.025
"""How late the event loop has to be to count as busy: longer than a chunk of the stream usually holds it up."""
BEAT_S = 0.01
QUIET_S = 5.0
"""Without a request, after which none is expected at any moment."""
FORGOTTEN_S = 30.0
MOST_CUT = 0.5
PACE_S = 0.25
"""Over which answers are counted: some dozens of a crowd's."""
FADES = 0.8
"""What is left of a pace after as long in which it wasn't reached: Kafka may stop for a moment."""
LATEST = 32
"""Answers that weigh most in how long one of few takes."""
ROOM = 2.0
"""To grow, in times of what keeps the pace up."""


class Heartbeat:
    """How late the event loop is: by a timer of its own."""

    def __init__(self) -> None:
        self._late_s = 0.0
        self._due_s = float("inf")

    def late_s(self) -> float:
        """At the last beat, or by now, where the next one is overdue."""
        return max(self._late_s, time.monotonic() - self._due_s)

    @asynccontextmanager
    async def beating(self) -> AsyncIterator[None]:
        """For as long as anybody is answered: standing still before the last are, it would pass for a busy loop."""
        beats = asyncio.create_task(self._beat())
        try:
            yield
        finally:
            beats.cancel()
            await asyncio.gather(beats, return_exceptions=True)
            self._due_s = float("inf")

    async def _beat(self) -> None:
        while True:
            self._due_s = time.monotonic() + BEAT_S
            await asyncio.sleep(BEAT_S)
            # Falls slowly: between two slow turns of a busy loop there may be a quick one.
            self._late_s = max(time.monotonic() - self._due_s, 0.8 * self._late_s)


class Pace:
    """How many are answered in a second, and how long one of few takes. Seconds by one clock."""

    def __init__(self, now_s: float) -> None:
        self._counted_since_s, self._count, self._per_second = now_s, 0, 0.0
        self._by_itself_s = 0.0

    def answered(self, now_s: float, took_s: float, *, of_few: bool) -> None:
        """`of_few`: hardly anybody was before it, so that it waited for nobody."""
        self._count += 1
        counted_s = now_s - self._counted_since_s
        if counted_s >= PACE_S:
            self._per_second = max(self._count / counted_s, FADES * self._per_second)
            self._counted_since_s, self._count = now_s, 0
        if of_few:
            self._by_itself_s += (took_s - self._by_itself_s) / LATEST

    def at_once(self, within_s: float) -> float:
        """How many may be in work so that each is answered within the time, or within what it takes by itself."""
        return self._per_second * max(within_s, ROOM * self._by_itself_s)


class Overloaded(Exception):
    """No place is free: asking again in a moment is better than waiting."""


class Admission:
    """Counts the requests in work. Of one process, on one event loop."""

    def __init__(
        self,
        *,
        most: int,
        within_s: float,
        late_s: Callable[[], float] = lambda: 0.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`most`: places there can be at all. `within_s`: from its arrival on, an answer that took longer is late.
        `late_s`: how late the event loop is."""
        self._fewest, self._first, self._most = (float(min(number, most)) for number in (FEWEST, FIRST, most))
        self._within_s = within_s
        self._late_s = late_s
        self._clock = clock
        self._limit = self._first
        self._starting = True
        self._in_work = 0
        self._whole = 0
        self._cut_at_s = -math.inf
        self._turned_away_at_s = -math.inf
        """When there was no place for somebody."""
        self._ended_at_s = -math.inf
        self._pace = Pace(clock())
        self._needed_at_s = clock()
        """When more than half of the places were last in use."""
        ADMISSION_LIMIT.set(self.limit)

    @property
    def limit(self) -> int:
        return int(self._limit)

    @property
    def quiet(self) -> bool:
        """Whether nothing is in work, nor has been for a while."""
        return not self._in_work and self._clock() - self._ended_at_s > QUIET_S

    def full(self, arrived_s: float) -> bool:
        """Whether there is no place for a request that arrived then."""
        return self._taken(max(self._in_work, self._whole), arrived_s)

    def count_whole(self, change: int) -> None:
        """A request is there as a whole, or was answered. Many may be before the first of them has its turn, and what
        comes behind them can be told no at once."""
        self._whole += change

    def check(self, arrived_s: float) -> None:
        """Raises Overloaded where there is no place."""
        if self.full(arrived_s):
            raise Overloaded

    @contextmanager
    def place(self, arrived_s: float) -> Iterator[None]:
        """Take a place. `arrived_s`: when the request was whole, by `clock`. Raises Overloaded."""
        self._forget()
        if self._taken(self._in_work, arrived_s):
            raise Overloaded
        of_few = self._in_work < self._fewest
        self._in_work += 1
        IN_FLIGHT.set(self._in_work)
        try:
            yield
        finally:
            self._learn(arrived_s, of_few=of_few)
            self._in_work -= 1
            self._ended_at_s = self._clock()
            IN_FLIGHT.set(self._in_work)

    def _taken(self, places: int, arrived_s: float) -> bool:
        """Whether with so many taken there is none left for a request that arrived then."""
        taken = places >= self._places(arrived_s)
        if taken:
            self._turned_away_at_s = self._clock()
        return taken

    def _places(self, arrived_s: float) -> float:
        """That there are for a request that arrived then: as it waited for its turn, the loop is busy."""
        now = self._clock()
        if now - arrived_s > BUSY_S or self._late_s() > BUSY_S:
            return self.limit
        if now - self._turned_away_at_s > FORGOTTEN_S:
            return self._most
        return min(self._most, max(self._fewest, self._pace.at_once(self._within_s)))

    def _forget(self) -> None:
        if self._limit > self._first and self._clock() - self._needed_at_s > FORGOTTEN_S:
            self._limit, self._starting = self._first, True
            ADMISSION_LIMIT.set(self.limit)

    def _learn(self, arrived_s: float, *, of_few: bool) -> None:
        now = self._clock()
        took_s = now - arrived_s
        self._pace.answered(now, took_s, of_few=of_few)
        if 2 * self._in_work <= self._limit:
            # While most places are empty, neither an answer in time nor one that is late (the machine paused, Kafka is
            # slow) says anything about how many there might be.
            return
        self._needed_at_s = now
        if took_s > self._within_s and self._late_s() <= BUSY_S:
            return  # it waited for others, not for us
        if took_s > self._within_s:
            # Those that were let in before the last cut had to be late as well: it was made for all of them.
            if arrived_s > self._cut_at_s:
                kept = min(self._limit, self._in_work) * max(MOST_CUT, self._within_s / took_s)
                self._limit, self._starting = max(self._fewest, kept), False
                self._cut_at_s = now
        else:
            self._limit = min(self._most, self._limit + (1.0 if self._starting else 1.0 / self._limit))
        ADMISSION_LIMIT.set(self.limit)
