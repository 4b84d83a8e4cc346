"""The generator `bnpl_history`: default also depends on the customer's own past, so that rolling features pay."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

import numpy as np

from services.simulator import law
from services.simulator.arrivals import MICROS, SECONDS_A_DAY
from services.simulator.bnpl import Bnpl, Continuity, World
from services.simulator.law import Floats
from services.simulator.population import Ints, Products, RegularsReturn, Visits

DAY_US = SECONDS_A_DAY * MICROS
WEEK_US = 7 * DAY_US


class Account:
    """One customer's past as the law sees it. Each step costs the same, however long the past is.

    Times are to be given in order; an earlier one is taken as the latest seen so far.
    """

    __slots__ = ("_day", "_due", "_latest_us", "_missed", "_past_day", "_past_week", "defaults", "exposure")

    def __init__(self) -> None:
        self.exposure = 0.0
        """USD not yet due, as of the latest `look`."""
        self.defaults = 0
        """Known as of the latest `look`."""
        self._latest_us = 0
        self._day = 0
        self._past_day: deque[int] = deque()
        self._past_week: deque[int] = deque()
        self._due: dict[int, float] = {}
        """USD by the UTC day (since 1970) they fall due."""
        self._missed: dict[int, int] = {}
        """Loans by the UTC day of their first missed payment."""

    def look(self, at_us: int) -> tuple[int, int, float, int]:
        """Purchases in (t − 24 h, t] and (t − 7 d, t], open exposure in USD, defaults known."""
        at_us = self._latest_us = max(self._latest_us, at_us)
        for times, span in ((self._past_day, DAY_US), (self._past_week, WEEK_US)):
            while times and times[0] <= at_us - span:
                times.popleft()
        day = at_us // DAY_US
        if day != self._day:
            self._day = day
            self._due = {due: owed for due, owed in self._due.items() if due > day}
            self.exposure = sum(self._due.values())
            for missed in [missed for missed in self._missed if missed < day]:
                self.defaults += self._missed.pop(missed)
        return len(self._past_day), len(self._past_week), self.exposure, self.defaults

    def add(self, amount: float, installments: int, first_missed: int | None) -> None:
        """Take in the purchase at the time of the latest `look`."""
        self._past_day.append(self._latest_us)
        self._past_week.append(self._latest_us)
        for k in range(1, installments + 1):
            due = self._day + k * law.PERIOD_DAYS
            self._due[due] = self._due.get(due, 0.0) + amount / installments
        self.exposure += amount
        if first_missed is not None:
            missed = self._day + first_missed
            self._missed[missed] = self._missed.get(missed, 0) + 1


@dataclass
class RememberingWorld(World):
    accounts: dict[int, Account] = field(default_factory=dict)
    """By number of the customer."""


class BnplHistory(Bnpl):
    """As `Bnpl`, with regulars for customers and `law.expected_rate_with_history` for the law."""

    name = "bnpl_history"
    label = "BNPLHistoryGenerator"
    greatest_probability = law.GREATEST_HISTORY_PROBABILITY

    @classmethod
    def new_world(cls, rng: np.random.Generator, base_daily_volume: int, continuity: Continuity) -> World:
        """As of `Bnpl`; nobody is forgotten in either continuity, since the law is about the customer's past."""
        del continuity
        return RememberingWorld(RegularsReturn(base_daily_volume), Products.draw(rng))

    def _outcomes(
        self,
        visits: Visits,
        times_us: Ints,
        amount: Floats,
        installments: Ints,
        static_rate: Floats,
        noise: Floats,
        tosses: Floats,
        delays: Floats,
    ) -> tuple[Floats, Floats, list[int | None]]:
        assert isinstance(self.world, RememberingWorld)
        accounts = self.world.accounts
        expected = np.empty(len(times_us))
        probability = np.empty(len(times_us))
        first_missed: list[int | None] = []
        for i, (number, at_us, paid, count, rate, toss, delay) in enumerate(
            zip(
                visits.numbers.tolist(),
                times_us.tolist(),
                amount.tolist(),
                installments.tolist(),
                static_rate.tolist(),
                tosses.tolist(),
                delays.tolist(),
                strict=True,
            )
        ):
            account = accounts.get(number)
            if account is None:
                account = accounts[number] = Account()
            expected[i] = law.expected_rate_with_history(rate, *account.look(at_us))
            lifted = float(expected[i]) + law.PROBABILITY_NOISE * float(noise[i])
            probability[i] = min(max(lifted, law.LEAST_PROBABILITY), self.greatest_probability)
            missed = law.first_missed_day(count, delay) if toss < probability[i] else None
            account.add(paid, count, missed)
            first_missed.append(missed)
        return expected, probability, first_missed
