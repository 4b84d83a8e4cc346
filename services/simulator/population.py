"""The people and the products of a stream, and who comes to buy next. Columns of codes (catalogue.py), not objects:
a day of purchases is then drawn in a few array operations."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from services.simulator import catalogue
from services.simulator.law import Floats

Ints = npt.NDArray[np.int64]

REMEMBERED = 10_000
"""Customers that simtom keeps at a time; who drops out is made anew, under the old id, at the next purchase."""

NEW_CUSTOMER_SHARE = 0.3
"""Of the purchases; the others come from anybody seen before, all alike."""

CREDIT, VERIFICATION, INCOME, AGE, ADDRESS, STATE, _DEVICES = range(7)
_PAYMENTS = _DEVICES + catalogue.DEVICES_EACH
_COLUMNS = _PAYMENTS + catalogue.PAYMENTS_EACH


class People:
    """One row for each person ever made. Rows are never changed: a re-rolled customer gets a new one."""

    def __init__(self) -> None:
        self.count = 0
        self._codes = np.zeros((1024, _COLUMNS), np.uint8)
        self._signup = np.zeros(1024, np.int64)

    def add(self, rng: np.random.Generator, today: int, riskier: Floats) -> None:
        """Make one person for each element of `riskier`: the chance that the credit band is one of the lower two.

        `today`: proleptic Gregorian ordinal of the server's day, which tenures are counted from.
        """
        n = len(riskier)
        if n == 0:
            return
        self._grow(n)
        new = slice(self.count, self.count + n)
        choices: tuple[catalogue.Choice[Any], ...] = (
            catalogue.CREDIT,
            catalogue.VERIFICATION,
            catalogue.INCOME,
            catalogue.AGE,
            catalogue.ADDRESS,
            catalogue.STATE,
            *[catalogue.DEVICE] * catalogue.DEVICES_EACH,
            *[catalogue.PAYMENT] * catalogue.PAYMENTS_EACH,
        )
        for column, choice in enumerate(choices):
            self._codes[new, column] = choice.draw(rng, n)
        first, last = catalogue.TENURE_DAYS
        self._signup[new] = today - rng.integers(first, last + 1, n)
        if riskier.any():
            moved = rng.random(n) < riskier
            self._codes[new, CREDIT] = np.where(moved, rng.integers(0, 2, n), self._codes[new, CREDIT])
        self.count += n

    def _grow(self, n: int) -> None:
        while self.count + n > len(self._codes):
            self._codes = np.concatenate([self._codes, np.zeros_like(self._codes)])
            self._signup = np.concatenate([self._signup, np.zeros_like(self._signup)])

    def codes(self, column: int, rows: Ints) -> catalogue.Codes:
        """One column (CREDIT … STATE) of these people."""
        return np.asarray(self._codes[rows, column], np.uint8)

    def device(self, rows: Ints, slots: Ints) -> catalogue.Codes:
        return np.asarray(self._codes[rows, _DEVICES + slots], np.uint8)

    def payment(self, rows: Ints, slots: Ints) -> catalogue.Codes:
        return np.asarray(self._codes[rows, _PAYMENTS + slots], np.uint8)

    def signup(self, rows: Ints) -> Ints:
        """Day of signing up, as an ordinal."""
        return self._signup[rows]


@dataclass(frozen=True)
class Products:
    """The shop's products; product number k stands in row k − 1."""

    category: catalogue.Codes
    subcategory: tuple[str, ...]
    brand: catalogue.Codes
    risk: catalogue.Codes
    price: Floats
    """USD."""
    electronics: Ints
    """Rows of the dearest category."""

    @classmethod
    def draw(cls, rng: np.random.Generator) -> Products:
        n = catalogue.PRODUCTS
        category = catalogue.CATEGORY.draw(rng, n)
        names = [catalogue.CATEGORY.values[code] for code in category]
        low, high = np.array([catalogue.PRICES[name] for name in names]).T
        which = rng.random(n)
        lists = [catalogue.SUBCATEGORIES[name] for name in names]
        return cls(
            category,
            tuple(names[int(share * len(names))] for names, share in zip(lists, which, strict=True)),
            catalogue.BRAND.draw(rng, n),
            catalogue.PRODUCT_RISK.draw(rng, n),
            np.round(rng.uniform(low, high), 2),
            np.flatnonzero(category == catalogue.CATEGORY.values.index("electronics")),
        )


@dataclass(frozen=True)
class Visits:
    """Who makes each of n purchases."""

    numbers: Ints
    """Of the customer: `cust_000001` is 1."""
    rows: Ints
    """Into People. Rows from `people.count` on are to be made first, in this order:"""
    made_at: Ints
    """Positions (0 to n − 1) of the purchases whose customers are to be made."""


class Visitors(Protocol):
    """Chooses the customers. Keeps its state from one call to the next."""

    def come(self, rng: np.random.Generator, n: int) -> Visits: ...


class AnyoneReturns:
    """simtom's choice: a new customer with a chance of 0.3, else anybody seen before."""

    def __init__(self, *, forgetful: bool) -> None:
        self._known = 0
        self._made = 0
        self._forgetful = forgetful
        self._row_of = np.full(1024, -1, np.int64)
        self._kept: deque[int] = deque()

    def come(self, rng: np.random.Generator, n: int) -> Visits:
        new = rng.random(n) < NEW_CUSTOMER_SHARE
        if self._known == 0 and n:
            new[0] = True
        known = self._known + np.cumsum(new)
        numbers = np.where(new, known, 1 + (rng.random(n) * known).astype(np.int64))
        self._known = int(known[-1]) if n else self._known
        if not self._forgetful:
            return Visits(numbers, numbers - 1, np.flatnonzero(new))
        return self._remember(numbers)

    def _remember(self, numbers: Ints) -> Visits:
        while len(self._row_of) <= self._known:
            self._row_of = np.concatenate([self._row_of, np.full_like(self._row_of, -1)])
        rows, made_at = [], []
        for position, number in enumerate(numbers.tolist()):
            row = int(self._row_of[number])
            if row < 0:
                row = self._row_of[number] = self._made
                self._made += 1
                made_at.append(position)
                self._kept.append(number)
                if len(self._kept) > REMEMBERED:
                    self._row_of[self._kept.popleft()] = -1
            rows.append(row)
        return Visits(numbers, np.array(rows, np.int64), np.array(made_at, np.int64))


class RegularsReturn:
    """The choice of `bnpl_history`: a circle of regulars who buy about every third day, some far more often, with
    sprees of several purchases within hours. Nobody is forgotten."""

    SPREE_SHARE = 0.15
    """Of the purchases: made by one of the last RECENT buyers."""
    RECENT = 30
    CHURN = 0.05
    """Chance at each purchase that a regular has left and a new one stands in the place: people stay about two months,
    so that known defaults level off instead of piling up."""
    PLACES_A_DAILY_PURCHASE = 3
    SKEW = 1.5
    """Place = (uniform ^ SKEW) of the circle: the first places buy several times as often as the last."""

    def __init__(self, base_daily_volume: int) -> None:
        self._places = [0] * (self.PLACES_A_DAILY_PURCHASE * base_daily_volume)
        self._recent: deque[int] = deque(maxlen=self.RECENT)
        self._known = 0

    def come(self, rng: np.random.Generator, n: int) -> Visits:
        places = (rng.random(n) ** self.SKEW * len(self._places)).astype(np.int64).tolist()
        kinds, picks = rng.random(n).tolist(), rng.random(n).tolist()
        numbers, made_at = [], []
        for position, (place, kind, pick) in enumerate(zip(places, kinds, picks, strict=True)):
            if kind < self.SPREE_SHARE and self._recent:
                number = self._recent[int(pick * len(self._recent))]
            else:
                if self._places[place] == 0 or kind > 1.0 - self.CHURN:
                    self._known += 1
                    self._places[place] = self._known
                    made_at.append(position)
                number = self._places[place]
            self._recent.append(number)
            numbers.append(number)
        drawn = np.array(numbers, np.int64)
        return Visits(drawn, drawn - 1, np.array(made_at, np.int64))
