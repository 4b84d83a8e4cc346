"""One stream: history by days or live by the clock, as chunks of the answer's body."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from datetime import date, datetime, timedelta

import numpy as np

from services.simulator import arrivals, drift, metrics, noise, wire
from services.simulator.arrivals import MICROS
from services.simulator.bnpl import Bnpl
from services.simulator.hidden import HiddenFile
from services.simulator.population import Ints
from services.simulator.request import StreamRequest
from shared.telemetry.metrics import EVENTS

Clock = Callable[[], datetime]
"""The server's wall clock: naive, UTC."""

EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001 - naive times that mean UTC are what simtom speaks

GROUP = 100
"""Events written before other tasks of the loop may run: about 5 ms."""

TICK_S = 0.02
"""Least sleep of a live stream: what has fallen due meanwhile is drawn and sent together, with no timer for each event.
A draw costs a quarter of a millisecond however few it draws."""

LONGEST_SLEEP_S = 1.0

FORGIVEN_S = 1.0
"""A reader who stood still longer than this isn't flooded with what it missed."""


class Stream:
    """Draws, disturbs, writes down and counts. Iterated once, by `history` or by `live`."""

    def __init__(
        self,
        request: StreamRequest,
        generator: Bnpl,
        seeds: Sequence[np.random.SeedSequence],
        *,
        clock: Clock,
        day_pause_s: float,
        hidden: HiddenFile | None,
    ) -> None:
        """`seeds`: two, for arrivals and for noise, so that neither changes who buys what."""
        self._request = request
        self._generator = generator
        self._arrivals, self._noise = (np.random.default_rng(seed) for seed in seeds)
        self._clock = clock
        self._day_pause_s = day_pause_s
        self._hidden = hidden
        self._began = clock()
        self._sent = 0

    async def history(self, first: date, last: date) -> AsyncIterator[bytes]:
        """Day by day, each as a burst with a pause behind it. An event is a chunk."""
        request = self._request
        profile = arrivals.hour_profile(request.peak_hours)
        for day in (first + timedelta(days=k) for k in range((last - first).days + 1)):
            volume = arrivals.day_volume(request, day, self._arrivals)
            times = arrivals.times_of_day(day, volume, profile, self._arrivals)
            for position, chunk in enumerate(self._chunks(times)):
                if position % GROUP == 0:
                    await asyncio.sleep(0)
                yield chunk
            metrics.HISTORY_DAYS.labels(self._generator.name).inc()
            if self._is_over:
                return
            if day != last:
                await asyncio.sleep(self._day_pause_s)

    async def live(self) -> AsyncIterator[bytes]:
        """At the asked rate, stamped with the moment each event fell due. Ends after `max_records`, or never."""
        rate = arrivals.hour_rate_of(self._request, self._began, self._clock)
        pace = arrivals.Pace(self._request, self._arrivals, rate, frozen=self._request.effective_seed is not None)
        began = time.monotonic()
        while not self._is_over:
            elapsed = time.monotonic() - began
            if elapsed - pace.next_due > FORGIVEN_S:
                pace.forgive(elapsed)
            due = pace.take(elapsed, GROUP)
            if due:
                now_us = (self._clock() - EPOCH) // timedelta(microseconds=1)
                times = now_us - np.array([(elapsed - moment) * MICROS for moment in due]).astype(np.int64)
                for chunk in self._chunks(times):
                    yield chunk
            until_next = pace.next_due - (time.monotonic() - began)
            await asyncio.sleep(min(max(until_next, TICK_S), LONGEST_SLEEP_S))

    @property
    def _is_over(self) -> bool:
        most = self._request.max_records
        return most is not None and self._sent >= most

    def _chunks(self, times: Ints) -> list[bytes]:
        """Draw and write down the purchases at these times, as far as `max_records` goes."""
        request, generator = self._request, self._generator
        now = self._clock()
        today = now.toordinal()
        draw = generator.draw(times, today, drift.price_factor(request, self._began, now))
        events = list(wire.events(draw, generator.world, label=generator.label, first_record=self._sent, today=today))
        if request.max_records is not None:
            del events[request.max_records - self._sent :]
        if self._hidden is not None:
            self._hidden.append(generator.name, request, draw, events)
        if request.noise_type != "none":
            for event in events:
                noise.disturb(event, request.noise_type, request.noise_level, self._noise)
        self._sent += len(events)
        EVENTS.labels("simulator", generator.name, "sent").inc(len(events))
        return [wire.frame(event) for event in events]
