"""Days of the simulator's own purchases as the monitor sees them, without HTTP and without features of the past."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import date, timedelta

import numpy as np
from numpy.typing import NDArray

from services.simulator import arrivals, catalogue, law, population
from services.simulator.bnpl import World
from services.simulator.draw import Draw
from services.simulator.request import RegimeChange, StreamRequest
from services.simulator.worlds import GENERATORS, Worlds
from services.trainer.monitoring.purchases import Purchases
from services.trainer.monitoring.reference import Reference, reference_of
from services.trainer.monitoring.tiles import Tile, tile_of
from shared.feature_definitions.windows import MICROS_PER_DAY

FIRST_DAY = date(2026, 1, 1)
FIRST = (FIRST_DAY - date(1970, 1, 1)).days

NAMES = (
    "amount", "installment_count", "credit_score_rank", "verification_rank", "income_rank", "address_stability_rank",
    "product_risk_rank", "product_bnpl_eligible", "device_trusted", "device_is_mobile", "credit_limit",
    "credit_utilization", "credit_is_stretched", "purchase_context_rank", "checkout_speed_rank",
    "cart_abandonment_count", "price_comparison_seconds", "time_on_site_seconds", "is_night",
)  # fmt: skip

_TRUSTED = np.array([trusted for _, _, trusted in catalogue.DEVICE.values], float)
_MOBILE = np.array([kind == "mobile" for kind, _, _ in catalogue.DEVICE.values], float)
_LIMIT = np.array([limit for _, limit in catalogue.PAYMENT.values], float)
_CONTEXT = np.array([("normal", "impulse", "rushed").index(each.context) for each in catalogue.SCENARIOS], float)
_SPEEDS = ("slow", "normal", "fast", "very_fast")
_SPEED = np.array([[_SPEEDS.index(speed) for speed in each.speeds] for each in catalogue.SCENARIOS], float)
_ELIGIBLE = np.array([name in catalogue.ELIGIBLE_CATEGORIES for name in catalogue.CATEGORY.values], float)


def days(
    daily: int, count: int, seed: int, *, generator: str = "bnpl", changes: Sequence[RegimeChange] = ()
) -> Iterator[tuple[int, Purchases, NDArray[np.float64], Draw]]:
    """Day since 1970, its purchases, what a perfect model would say of each, and the draw behind them. Weekdays, months
    and holidays have their volumes."""
    request = StreamRequest(
        start_date=FIRST_DAY,  # a live stream with a seed would have the same label noise for every purchase
        end_date=FIRST_DAY + timedelta(days=count - 1),
        base_daily_volume=daily,
        seed=seed,
        regime=list(changes),
    )
    seeds = np.random.SeedSequence(seed).spawn(3)
    drawn = Worlds("continued").generator(GENERATORS[generator], request, seeds[:2])
    when = np.random.default_rng(seeds[2])
    profile = arrivals.hour_profile(None)
    for day in (FIRST_DAY + timedelta(days=k) for k in range(count)):
        times = arrivals.times_of_day(day, arrivals.day_volume(request, day, when), profile, when)
        draw = drawn.draw(times, FIRST_DAY.toordinal())
        yield (day - date(1970, 1, 1)).days, _purchases(draw, drawn.world), _judgement(draw), draw


def _judgement(draw: Draw) -> NDArray[np.float64]:
    """By the law of before any change: a model doesn't know of the next one."""
    return np.asarray(law.expected_rate(draw.score), np.float64)


def _purchases(draw: Draw, world: World) -> Purchases:
    people, products = world.people, world.products
    device = people.device(draw.person, draw.device_slot)
    category = products.category[draw.product]
    credit = people.codes(population.CREDIT, draw.person)
    columns = [
        draw.amount,
        draw.installments,
        credit,
        2.0 - people.codes(population.VERIFICATION, draw.person),
        people.codes(population.INCOME, draw.person),
        people.codes(population.ADDRESS, draw.person),
        products.risk[draw.product],
        _ELIGIBLE[category] * (draw.amount >= catalogue.ELIGIBLE_FROM),
        _TRUSTED[device],
        _MOBILE[device],
        _LIMIT[people.payment(draw.person, draw.payment_slot)],
        draw.utilization,
        draw.scenario == catalogue.STRETCHED,
        _CONTEXT[draw.scenario],
        _SPEED[draw.scenario, draw.fast_half.astype(int)],
        draw.cart_abandonments,
        draw.price_comparison,
        draw.time_on_site,
        draw.times_us % MICROS_PER_DAY < MICROS_PER_DAY // 4,
    ]
    n = len(draw.times_us)
    return Purchases(
        draw.person.astype(str).astype(object),
        draw.times_us,
        np.stack([np.asarray(column, np.float32) for column in columns], axis=1),
        {
            "product_category": np.array(catalogue.CATEGORY.values, object)[category],
            "credit_score_range": np.array(catalogue.CREDIT.values, object)[credit],
            "instalments": draw.installments.astype(str).astype(object),
            "currency": np.full(n, "USD", object),
        },
        np.full(n, 0.02),
        np.full(n, "", object),
    )


def joined(parts: Sequence[Purchases]) -> Purchases:
    return Purchases(
        np.concatenate([part.customer_id for part in parts]),
        np.concatenate([part.occurred_us for part in parts]),
        np.concatenate([part.features for part in parts]),
        {name: np.concatenate([part.segments[name] for part in parts]) for name in parts[0].segments},
        np.concatenate([part.age_s for part in parts]),
        np.concatenate([part.degraded for part in parts]),
    )


def watched(
    daily: int,
    count: int,
    seed: int,
    *,
    reference: tuple[int, int],
    generator: str = "bnpl",
    changes: Sequence[RegimeChange] = (),
) -> tuple[Reference, dict[int, Tile]]:
    """A stream's reference, made of the days in `reference` (numbered from its first), and the tiles of all days
    after."""
    kept: list[tuple[Purchases, NDArray[np.float64]]] = []
    found: Reference | None = None
    tiles: dict[int, Tile] = {}
    for day, purchases, probability, _ in days(daily, count, seed, generator=generator, changes=changes):
        if reference[0] <= day - FIRST < reference[1]:
            kept.append((purchases, probability))
        elif day - FIRST >= reference[1]:
            if found is None:
                all_of_them = joined([each for each, _ in kept])
                said = np.concatenate([each for _, each in kept])
                found = reference_of(all_of_them, NAMES, said, (FIRST + reference[0], FIRST + reference[1]))
            tiles[day] = tile_of(found.layout, purchases, probability)
    assert found is not None
    return found, tiles
