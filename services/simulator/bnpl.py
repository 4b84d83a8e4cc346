"""The generator `bnpl`: purchases whose default depends on what the event itself shows, and on nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from services.simulator import catalogue, law, population, regime
from services.simulator.catalogue import SCENARIOS
from services.simulator.draw import Draw
from services.simulator.law import Floats
from services.simulator.population import AnyoneReturns, Ints, People, Products, Visitors, Visits
from services.simulator.request import RegimeChange

Continuity = Literal["continued", "fresh"]
Factors = tuple[Floats, Floats, Floats, Floats, Floats, Floats]

_CREDIT = catalogue.CREDIT.factors(law.CREDIT)
_VERIFICATION = catalogue.VERIFICATION.factors(law.VERIFICATION)
_INCOME = catalogue.INCOME.factors(law.INCOME)
_DEVICE = np.array([law.DEVICE_TRUSTED[trusted] for _, _, trusted in catalogue.DEVICE.values])
_PRODUCT_RISK = catalogue.PRODUCT_RISK.factors(law.PRODUCT_RISK)
_SCENARIO = catalogue.SCENARIO.factors(law.SCENARIO)
_PRICE_COMPARISON = np.array([scenario.price_comparison for scenario in SCENARIOS])
_TIME_ON_SITE = np.array([scenario.time_on_site for scenario in SCENARIOS])
_UTILIZATION_LIMITS = np.array(catalogue.UTILIZATION_LIMITS.values)


@dataclass
class World:
    """The people, the products and who comes next: what a later stream may go on with."""

    visitors: Visitors
    products: Products
    people: People = field(default_factory=People)


class Bnpl:
    """Draws purchases. The same seed and the same calls of `draw` give the same purchases."""

    name = "bnpl"
    label = "BNPLGenerator"
    """What simtom calls itself in `_generator`."""

    greatest_probability = law.GREATEST_PROBABILITY

    def __init__(
        self, world: World, rng: np.random.Generator, changes: Sequence[RegimeChange] = (), *, frozen: bool = False
    ) -> None:
        """`frozen`: simtom's live streams with a seed draw the same label noise for every event."""
        self.world = world
        self._rng = rng
        self._changes = changes
        self._frozen_noise = float(rng.standard_normal()) if frozen else None

    @classmethod
    def new_world(cls, rng: np.random.Generator, base_daily_volume: int, continuity: Continuity) -> World:
        """People and products for a stream that goes on with no other."""
        del base_daily_volume  # anybody may return, however many there are
        return World(AnyoneReturns(forgetful=continuity == "fresh"), Products.draw(rng))

    def draw(self, times_us: Ints, today: int, price_factor: float = 1.0) -> Draw:
        """Purchases at these sorted event times (microseconds since 1970).

        `today`: ordinal of the server's day, which the tenure of new customers is counted from. `price_factor`: drift.
        """
        rng, world, n = self._rng, self.world, len(times_us)
        risky = regime.strengths(self._changes, "attributes", times_us)
        visits = world.visitors.come(rng, n)
        world.people.add(rng, today, risky[visits.made_at])
        device_slot = rng.integers(0, catalogue.DEVICES_EACH, n)
        payment_slot = rng.integers(0, catalogue.PAYMENTS_EACH, n)
        product, scenario = self._purchases(n, risky)
        amount = world.products.price[product]
        if price_factor != 1.0:
            amount = np.round(amount * price_factor, 2)
        limits = _UTILIZATION_LIMITS[catalogue.UTILIZATION_LIMITS.draw(rng, n)]
        six = (amount >= catalogue.SIX_INSTALLMENTS_FROM) & (rng.random(n) < catalogue.SIX_INSTALLMENTS_SHARE)
        installments = np.where(six, 6, 4)
        factors: Factors = (
            _CREDIT[world.people.codes(population.CREDIT, visits.rows)],
            _VERIFICATION[world.people.codes(population.VERIFICATION, visits.rows)],
            _INCOME[world.people.codes(population.INCOME, visits.rows)],
            _DEVICE[world.people.device(visits.rows, device_slot)],
            _PRODUCT_RISK[world.products.risk[product]],
            _SCENARIO[scenario],
        )
        cart = rng.integers(0, catalogue.CART_ABANDONMENTS + 1, n)
        comparison = rng.integers(_PRICE_COMPARISON[scenario, 0], _PRICE_COMPARISON[scenario, 1] + 1)
        on_site = rng.integers(_TIME_ON_SITE[scenario, 0], _TIME_ON_SITE[scenario, 1] + 1)
        half = rng.random(n) < 0.5
        noise = rng.standard_normal(n)
        if self._frozen_noise is not None:
            noise = np.full(n, self._frozen_noise)
        tosses, delays = rng.random(n), rng.random(n)
        expected, probability, first_missed = self._outcomes(
            visits, times_us, amount, installments, self._static_rate(factors, times_us), noise, tosses, delays
        )
        return Draw(
            times_us=times_us,
            customer=visits.numbers,
            person=visits.rows,
            device_slot=device_slot,
            payment_slot=payment_slot,
            product=product,
            scenario=scenario,
            fast_half=half,
            amount=amount,
            utilization=np.where(scenario == catalogue.STRETCHED, amount / limits, np.nan),
            installments=installments,
            cart_abandonments=cart,
            price_comparison=comparison,
            time_on_site=on_site,
            score=law.risk_score(*factors),
            expected=expected,
            probability=probability,
            defaulted=np.array([days is not None for days in first_missed], np.bool_),
            first_missed=first_missed,
        )

    def _purchases(self, n: int, risky: Floats) -> tuple[Ints, catalogue.Codes]:
        """What is bought, and how."""
        rng = self._rng
        product = rng.integers(0, catalogue.PRODUCTS, n)
        scenario = catalogue.SCENARIO.draw(rng, n)
        if risky.any():
            moved = rng.random(n) < risky
            product = np.where(moved, rng.choice(self.world.products.electronics, n), product)
            worse = rng.integers(catalogue.STRETCHED, catalogue.HIGH_RISK + 1, n, dtype=np.uint8)
            scenario = np.where(moved, worse, scenario)
        return product, scenario

    def _static_rate(self, factors: Factors, times_us: Ints) -> Floats:
        """Expected rate from the event alone, by the law that is in force at each event time."""
        rate = law.expected_rate(law.risk_score(*factors))
        altered = regime.strengths(self._changes, "law", times_us)
        for strength in np.unique(altered[altered > 0]).tolist():
            score = law.risk_score(*factors, weights=law.blended_weights(strength))
            rate = np.where(altered == strength, law.altered_rate(law.expected_rate(score), strength), rate)
        return rate

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
        """Expected rate, hidden probability and days to the first missed payment of each purchase."""
        del visits, times_us, amount  # what this law doesn't look at
        probability = law.hidden_probability(static_rate, noise, self.greatest_probability)
        first_missed: list[int | None] = [None] * len(tosses)
        for position in np.flatnonzero(tosses < probability).tolist():
            first_missed[position] = law.first_missed_day(int(installments[position]), float(delays[position]))
        return static_rate, probability, first_missed
