"""What is added up over purchases: the one accumulator behind all rolling features.

It is mergeable (the total of two disjoint sets is the merge of their totals), which is what lets old purchases be kept
as tiles instead of one by one. Money is whole minor units throughout.
"""

from __future__ import annotations

from typing import NamedTuple

from shared.feature_definitions.windows import is_night

DISTINCT_CAP = 32
"""Distinct counts end here: beyond it a customer is an outlier in any case, and the state stays bounded."""


class Purchase(NamedTuple):
    """What the state keeps of one purchase. `device` and `method` are 32-bit hashes, 0 where absent."""

    t_us: int
    minor: int
    currency: str
    device: int
    category: int
    """Position in the declared categories + 1; 0 where absent."""
    method: int
    instalments: int
    period_days: int


class Totals:
    """Totals over a set of purchases; the money part only over those in one currency."""

    __slots__ = ("categories", "devices", "methods", "money", "n", "nights")

    def __init__(self) -> None:
        self.n = 0
        self.nights = 0
        self.categories = 0
        """Bit i: category i was seen."""
        self.devices: set[int] = set()
        self.methods: set[int] = set()
        self.money: dict[str, Money] = {}

    def add(self, purchase: Purchase) -> None:
        t_us, minor, currency, device, category, method, _, _ = purchase
        self.n += 1
        if is_night(t_us):
            self.nights += 1
        if category:
            self.categories |= 1 << category
        if device and device not in self.devices and len(self.devices) < DISTINCT_CAP:
            self.devices.add(device)
        if method and method not in self.methods and len(self.methods) < DISTINCT_CAP:
            self.methods.add(method)
        money = self.money.get(currency)
        if money is None:
            self.money[currency] = Money(1, minor, minor * minor, minor)
        else:
            n, total, squares, largest = money
            largest = largest if largest > minor else minor
            self.money[currency] = Money(n + 1, total + minor, squares + minor * minor, largest)

    def merge(self, other: Totals) -> None:
        self.n += other.n
        self.nights += other.nights
        self.categories |= other.categories
        # A tile that reached the cap stays at it, so a capped union is exact: min(|union|, cap) needs no more members.
        if len(self.devices) < DISTINCT_CAP:
            self.devices |= other.devices
        if len(self.methods) < DISTINCT_CAP:
            self.methods |= other.methods
        for currency, theirs in other.money.items():
            ours = self.money.get(currency)
            if ours is None:
                self.money[currency] = theirs
            else:
                n, total, squares, largest = theirs
                largest = largest if largest > ours.largest else ours.largest
                self.money[currency] = Money(ours.n + n, ours.total + total, ours.squares + squares, largest)

    def copy(self) -> Totals:
        twin = Totals.__new__(Totals)  # without the containers of an empty one
        twin.n, twin.nights, twin.categories = self.n, self.nights, self.categories
        twin.devices, twin.methods, twin.money = set(self.devices), set(self.methods), dict(self.money)
        return twin


class Money(NamedTuple):
    """Count, sum, sum of squares and largest of amounts in one currency, in minor units."""

    n: int
    total: int
    squares: int
    largest: int
