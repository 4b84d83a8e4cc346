"""When purchases happen: volumes of days, times within a day, and the pace of a live stream."""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import date, datetime

import numpy as np

from services.simulator.law import Floats
from services.simulator.population import Ints
from services.simulator.request import StreamRequest

MICROS = 1_000_000
SECONDS_A_DAY = 86_400

WEEKDAYS = (0.95, 0.95, 0.95, 0.95, 1.0, 0.85, 0.85)
"""Monday first; Saturday and Sunday before the request's weekend multiplier."""
MONTHS = (0.85, 0.88, 0.95, 0.95, 1.0, 1.08, 1.0, 0.95, 0.95, 0.97, 1.2, 1.3)
HOLIDAYS = {
    (1, 1): 0.7,
    (2, 14): 1.4,
    (7, 4): 1.5,
    (10, 31): 1.3,
    (11, 11): 1.3,
    (12, 24): 1.5,
    (12, 25): 0.6,
    (12, 26): 1.4,
    (12, 31): 1.2,
}
BLACK_FRIDAY, CYBER_MONDAY = 1.8, 1.7
DAY_NOISE = 0.15
"""Standard deviation from day to day; the recorded four days differ by a third with nothing else to tell them apart."""
LEAST_NOISE, GREATEST_NOISE = 0.6, 1.4

NIGHT, WORKING_HOURS, EVENING = 1.0, 8.0, 4.0
HOURS = (*[NIGHT] * 9, *[WORKING_HOURS] * 9, *[EVENING] * 5, NIGHT)
"""Relative rate of each hour of the day (UTC), as recorded."""
PEAK = 8.0
"""Of the request's own peak hours, where it names some; the others then count 1."""


def hour_profile(peak_hours: list[int] | None) -> Floats:
    """Relative rates of the 24 hours, with a mean of 1."""
    profile = np.array(HOURS if peak_hours is None else [PEAK if h in peak_hours else 1.0 for h in range(24)])
    return np.asarray(profile / profile.mean())


def day_factor(day: date, weekend_multiplier: float, holidays: bool) -> float:
    """Expected volume of the day, relative to the base volume."""
    factor = WEEKDAYS[day.weekday()] * MONTHS[day.month - 1]
    if day.weekday() >= 5:
        factor *= weekend_multiplier
    return factor * _holiday_factor(day) if holidays else factor


def _holiday_factor(day: date) -> float:
    if day.month == 11:
        thanksgiving = 22 + (3 - date(day.year, 11, 1).weekday()) % 7
        if day.day == thanksgiving + 1:
            return BLACK_FRIDAY
        if day.day == thanksgiving + 4:
            return CYBER_MONDAY
    return HOLIDAYS.get((day.month, day.day), 1.0)


def day_volume(request: StreamRequest, day: date, rng: np.random.Generator) -> int:
    """How many purchases the day has; at least one."""
    noise = min(max(rng.normal(1.0, DAY_NOISE), LEAST_NOISE), GREATEST_NOISE)
    factor = day_factor(day, request.weekend_multiplier, request.include_holiday_patterns)
    return max(1, round(request.base_daily_volume * factor * noise))


def times_of_day(day: date, n: int, profile: Floats, rng: np.random.Generator) -> Ints:
    """`n` sorted times of the day in microseconds since 1970, each on a whole second."""
    hours = np.searchsorted(np.cumsum(profile / profile.sum())[:-1], rng.random(n), side="right")
    seconds = np.sort(hours * 3600 + rng.integers(0, 3600, n))
    start = (day - date(1970, 1, 1)).days * SECONDS_A_DAY
    return np.asarray((start + seconds) * MICROS, np.int64)


class Pace:
    """The due moments of a live stream, in seconds since it began. One is always drawn ahead.

    `hour_rate(elapsed)` is asked by the `nhpp` pattern only: the relative rate at that moment.
    """

    def __init__(
        self,
        request: StreamRequest,
        rng: np.random.Generator,
        hour_rate: Callable[[float], float],
        *,
        frozen: bool,
    ) -> None:
        """`frozen`: simtom's live streams with a seed draw the same random gap for ever."""
        self._request = request
        self._rng = rng
        self._hour_rate = hour_rate
        self._frozen = (float(rng.standard_exponential()), float(rng.random())) if frozen else None
        self.next_due = self._gap(0.0)

    def take(self, elapsed: float, most: int) -> list[float]:
        """The moments due by `elapsed`, oldest first, at most `most` of them."""
        due: list[float] = []
        while self.next_due <= elapsed and len(due) < most:
            due.append(self.next_due)
            self.next_due += self._gap(self.next_due)
        return due

    def forgive(self, elapsed: float) -> None:
        """Go on from `elapsed`: what a reader who stood still has missed is not made up for."""
        self.next_due = max(self.next_due, elapsed)

    def _gap(self, since: float) -> float:
        mean = 1.0 / self._request.rate_per_second
        pattern = self._request.arrival_pattern
        if pattern == "uniform":
            return mean
        exponential, uniform = self._frozen or (float(self._rng.standard_exponential()), float(self._rng.random()))
        if pattern == "nhpp":
            return mean * exponential / self._hour_rate(since)
        if pattern == "burst" and uniform < self._request.burst_probability:
            return mean * exponential / self._request.burst_intensity
        return mean * exponential


def hour_rate_of(request: StreamRequest, began: datetime, now: Callable[[], datetime]) -> Callable[[float], float]:
    """The relative rate at a moment of the stream, by the hour of its (compressed) clock.

    The clock stands at `start_time` plus the wall clock's distance from it. That distance can't be taken from a
    time-zone-aware `start_time`: TypeError, in the middle of the body, as with simtom.
    """
    profile = hour_profile(request.peak_hours)
    start = began if request.start_time is None else request.start_time
    head_start = (now() - start).total_seconds() if request.arrival_pattern == "nhpp" else 0.0
    first_hour = start.hour + start.minute / 60 + start.second / 3600

    def rate(elapsed: float) -> float:
        hours = first_hour + (head_start + elapsed) * request.time_compression / 3600
        return float(profile[math.floor(hours) % 24])

    return rate
