"""What people, products and purchases look like: the values of every field and how often each occurs.

The shares are those of the recorded events (5,813 purchases by 1,749 customers), rounded within their sampling error.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Generic, TypeVar

import numpy as np
import numpy.typing as npt

from services.simulator import law

Codes = npt.NDArray[np.uint8]
Value = TypeVar("Value")


@dataclass(frozen=True)
class Choice(Generic[Value]):
    """A categorical field. A column of it is an array of codes: positions in `values`."""

    values: tuple[Value, ...]
    shares: tuple[float, ...] | None = None
    """None: all alike."""

    def draw(self, rng: np.random.Generator, n: int) -> Codes:
        """`n` codes."""
        if self.shares is None:
            return rng.integers(0, len(self.values), n, dtype=np.uint8)
        return np.searchsorted(self._bounds, rng.random(n), side="right").astype(np.uint8)

    @cached_property
    def _bounds(self) -> npt.NDArray[np.float64]:
        return np.cumsum(self.shares or ())[:-1]

    def factors(self, table: Mapping[Value, float]) -> law.Floats:
        """The factor of each code, to be indexed by a column."""
        return np.array([table[value] for value in self.values])


AGE = Choice(("18-24", "25-34", "35-44", "45-54", "55+"), (0.13, 0.20, 0.20, 0.18, 0.29))
INCOME = Choice(("<25k", "25k-50k", "50k-75k", "75k-100k", "100k+"), (0.15, 0.28, 0.25, 0.17, 0.15))
CREDIT = Choice(("poor", "fair", "good", "excellent"), (0.15, 0.35, 0.35, 0.15))
VERIFICATION = Choice(("verified", "partial", "unverified"), (0.60, 0.30, 0.10))
ADDRESS = Choice(("stable", "new", "frequent_mover"), (0.60, 0.20, 0.20))
_STATES = (
    "AL AK AZ AR CA CO CT DE FL GA HI ID IL IN IA KS KY LA ME MD MA MI MN MS MO MT NE NV NH NJ"
    " NM NY NC ND OH OK OR PA RI SC SD TN TX UT VT VA WA WV WI WY DC AS FM GU MH MP PR PW VI"
)
STATE = Choice(tuple(_STATES.split()))
"""The states, the capital's district, and the territories."""
TENURE_DAYS = (1, 731)

DEVICE = Choice(
    tuple(
        (kind, system, trusted)
        for kind, system in (
            ("mobile", "Android"),
            ("mobile", "iOS"),
            ("desktop", "Windows"),
            ("desktop", "macOS"),
            ("desktop", "Linux"),
            ("tablet", "iOS"),
            ("tablet", "Android"),
            ("tablet", "Windows"),
        )
        for trusted in (True, False)
    ),
    tuple(
        share * trust
        for share in (0.55 * 0.70, 0.55 * 0.30, 0.30 * 0.70, 0.30 * 0.20, 0.30 * 0.10, 0.15 * 0.50, 0.15 * 0.45, 0.0075)
        for trust in (0.955, 0.045)
    ),
)
DEVICES_EACH = 2
PAYMENT = Choice(
    tuple(
        (provider, limit)
        for provider in ("affirm", "afterpay", "klarna", "sezzle")
        for limit in (500, 1000, 1500, 2500, 5000)
    )
)
PAYMENTS_EACH = 3

PRODUCTS = 5000
CATEGORY = Choice(("electronics", "clothing", "home", "beauty", "sports"), (0.355, 0.24, 0.195, 0.13, 0.08))
PRICES = {
    "electronics": (30.0, 400.0),
    "clothing": (20.0, 150.0),
    "home": (25.0, 300.0),
    "beauty": (15.0, 80.0),
    "sports": (25.0, 200.0),
}
"""USD, uniform."""
SUBCATEGORIES = {
    "electronics": ("smartphones", "laptops", "tablets", "headphones", "cameras"),
    "clothing": ("shoes", "dresses", "jackets", "jeans", "accessories"),
    "home": ("furniture", "decor", "kitchen", "bedding", "appliances"),
    "beauty": ("makeup", "skincare", "haircare", "fragrances", "tools"),
    "sports": ("fitness", "outdoor", "team_sports", "athletic_wear"),
}
BRAND = Choice(("Apple", "Samsung", "Nike", "Adidas", "IKEA", "Sephora", "Zara", "H&M"))
PRODUCT_RISK = Choice(("low", "medium", "high"), (0.50, 0.35, 0.15))
ELIGIBLE_CATEGORIES = frozenset({"electronics", "clothing", "home"})
ELIGIBLE_FROM = 50.0
"""USD. The rest is sold on instalments all the same: `bnpl_eligible` is false on 3 of 10 purchases."""

SIX_INSTALLMENTS_FROM, SIX_INSTALLMENTS_SHARE = 100.0, 0.5
UTILIZATION_LIMITS = Choice((500, 1000, 1500))
"""Drawn for itself, whatever the payment's own limit says: so does simtom."""
CART_ABANDONMENTS = 3


@dataclass(frozen=True)
class Scenario:
    """What goes with a kind of purchase. Ranges in seconds, both ends included."""

    name: str
    context: str
    speeds: tuple[str, str]
    """Each half of the time."""
    price_comparison: tuple[int, int]
    time_on_site: tuple[int, int]


SCENARIOS = (
    Scenario("low_risk_purchase", "normal", ("slow", "normal"), (60, 300), (180, 900)),
    Scenario("impulse_purchase", "impulse", ("fast", "fast"), (0, 60), (120, 300)),
    Scenario("credit_stretched", "normal", ("normal", "normal"), (60, 300), (300, 600)),
    Scenario("high_risk_behavior", "rushed", ("very_fast", "very_fast"), (0, 30), (30, 120)),
)
STRETCHED, HIGH_RISK = 2, 3
SCENARIO = Choice(tuple(scenario.name for scenario in SCENARIOS), (0.595, 0.20, 0.15, 0.055))
