"""The two promises of the alarm rule, on the simulator's own streams: seeds are fixed, so a failure is one of the code.

The long runs (a year of thousands a day) are `slow`; what stands here keeps the same rule on shorter ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta

import numpy as np
import pytest

from services.simulator.request import RegimeChange
from services.trainer.monitoring.alarms import (
    AGEING,
    DAYS_PER_FALSE_ALARM,
    MONTH,
    SETTLED_DAYS,
    Finding,
    judge,
    number_of_tests,
)
from services.trainer.monitoring.purchases import Purchases
from services.trainer.monitoring.reference import Reference, reference_of
from services.trainer.monitoring.tiles import Tile, tile_of, tiles_by_day
from services.trainer.spans import Span
from shared.feature_definitions.windows import MICROS_PER_DAY
from tests.research.simulated import simulated_history
from tests.unit.trainer.monitoring.streams import FIRST, NAMES, days, watched

REFERENCE = (56, 84)
"""Days of the hold-out: the population has its regulars by then."""


def looks(reference: Reference, tiles: dict[int, Tile], from_day: int) -> list[tuple[int, list[Finding]]]:
    """One for each whole day: more often, a look would see the same."""
    until = range(from_day, max(tiles) + 2)
    return [(day, [each for each in judge(reference, tiles, day, FIRST) if each.alarm]) for day in until]


def alarmed_days(daily: int, count: int, seed: int, generator: str = "bnpl") -> int:
    reference, tiles = watched(daily, count, seed, reference=REFERENCE, generator=generator)
    return sum(bool(alarms) for _, alarms in looks(reference, tiles, FIRST + REFERENCE[1] + MONTH))


@pytest.mark.parametrize(("generator", "seed"), [("bnpl", 1), ("bnpl_history", 2)])
def test_a_stable_month_of_a_hundred_a_day_raises_no_alarm(generator: str, seed: int) -> None:
    assert alarmed_days(100, REFERENCE[1] + MONTH + 31, seed, generator) == 0


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("generator", ["bnpl", "bnpl_history"])
@pytest.mark.parametrize(("daily", "seed"), [(300, 11), (300, 12), (3000, 13)])
def test_a_stable_year_raises_fewer_alarms_than_one_a_month(generator: str, daily: int, seed: int) -> None:
    assert alarmed_days(daily, 365, seed, generator) / 12 < 1


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("generator", ["bnpl", "bnpl_history"])
def test_two_stable_months_with_all_features_of_the_past_raise_no_alarm(generator: str) -> None:
    """Rolling features, known outcomes and tenure, as the feature code makes them: they grow older all the time."""
    begins, count = 84, 200
    history = simulated_history(generator, count, 90, seed=3)
    terms = [purchase.accepted.transaction for purchase in history.purchases]
    whole = Purchases(
        history.examples.customer_id,
        history.examples.occurred_us,
        history.examples.features,
        {
            "product_category": np.array([each.product.category if each.product else None for each in terms], object),
            "credit_score_range": np.full(len(terms), "unknown", object),
            "instalments": np.full(len(terms), "4", object),
            "currency": np.array([each.currency for each in terms], object),
        },
        np.full(len(terms), 0.02),
        np.full(len(terms), "", object),
    )
    held_out = (whole.day >= FIRST + begins) & (whole.day < FIRST + begins + MONTH)
    span = (FIRST + begins, FIRST + begins + MONTH)
    said = history.expected_rate
    reference = reference_of(whole.take(held_out), history.examples.feature_names, said[held_out], span)
    tiles = dict(tiles_by_day(reference.layout, whole, said, range(FIRST + begins, FIRST + count)))
    found = [judge(reference, tiles, day, FIRST) for day in range(FIRST + begins + 2 * MONTH, FIRST + count + 1)]
    assert {each.name for findings in found for each in findings} >= AGEING & set(reference.features)
    assert [str(each) for findings in found for each in findings if each.alarm] == []


def first_alarm(daily: int, strength: float, seed: int) -> tuple[int, int]:
    """Days, and purchases, from the change until the first look that alarms."""
    changed = REFERENCE[1] + MONTH
    at = datetime(2026, 1, 1) + timedelta(days=changed)  # noqa: DTZ001 - the simulator's times are naive
    change = RegimeChange(at=at, kind="attributes", strength=strength)
    reference, tiles = watched(daily, changed + 15, seed, reference=REFERENCE, changes=[change])
    [day, *_] = [day for day, alarms in looks(reference, tiles, FIRST + changed + 1) if alarms]
    return day - FIRST - changed, sum(tiles[each].rows for each in range(FIRST + changed, day))


@pytest.mark.parametrize(
    ("daily", "strength", "at_most"),
    [
        # Half of what comes in is of another kind: one whole day shows it.
        (300, 0.5, 1),
        # A quarter of it: within the week.
        (300, 0.25, 7),
    ],
)
def test_a_change_of_the_attributes_is_alarmed_within_the_stated_days(
    daily: int, strength: float, at_most: int
) -> None:
    waited, purchases = first_alarm(daily, strength, seed=21)
    assert waited <= at_most
    assert purchases <= 1.5 * daily * at_most


@pytest.fixture(scope="module")
def fortnight() -> tuple[Reference, dict[int, Tile]]:
    return watched(150, 28, seed=5, reference=(0, 14))


def test_more_tests_ask_for_more_evidence(fortnight: tuple[Reference, dict[int, Tile]]) -> None:
    reference, tiles = fortnight
    found = judge(reference, tiles, FIRST + 28, FIRST)
    tests = number_of_tests(reference)
    assert len(found) <= tests
    assert {each.p_needed for each in found} == {1 / (DAYS_PER_FALSE_ALARM * tests)}


def test_a_significant_change_that_does_not_matter_is_no_alarm() -> None:
    finding = Finding("feature", "amount", 7, "reference", 10**7, 0.01, 0.1, 0.0, 1e-80, 1e-6, 0.0, 0.0)
    assert not finding.alarm


def test_a_large_distance_of_a_few_purchases_is_no_alarm() -> None:
    finding = Finding("feature", "amount", 7, "reference", 100, 0.4, 0.1, 0.1, 1e-3, 1e-6, 0.0, 0.0)
    assert not finding.alarm


def test_a_field_that_is_no_longer_sent_is_alarmed_and_its_share_said(
    fortnight: tuple[Reference, dict[int, Tile]],
) -> None:
    reference, tiles = fortnight
    layout, place = reference.layout, NAMES.index("credit_score_rank")
    gone = {}
    for day, purchases, said, _ in days(150, 28, seed=5):
        features = purchases.features.copy()
        features[:, place] = np.nan
        if day in tiles:
            gone[day] = tile_of(layout, replace(purchases, features=features), said)
    alarms = {each.name: each for each in judge(reference, gone, FIRST + 28, FIRST) if each.alarm and each.days == 7}
    assert set(alarms) == {"credit_score_rank"}
    assert (alarms["credit_score_rank"].missing_before, alarms["credit_score_rank"].missing) == (0.0, 1.0)


def test_days_whose_input_was_broken_are_no_drift_of_the_weeks_that_follow(
    fortnight: tuple[Reference, dict[int, Tile]],
) -> None:
    """A field is missing in the second week after the reference's; now there are two sound ones behind it."""
    reference, _ = fortnight
    place, broken = NAMES.index("credit_score_rank"), range(FIRST + 14, FIRST + 21)
    tiles = {}
    for day, purchases, said, _ in days(150, 42, seed=5):
        features = purchases.features.copy()
        features[:, place] = np.nan if day in broken else features[:, place]
        tiles[day] = tile_of(reference.layout, replace(purchases, features=features), said)
    span = (broken[0] * MICROS_PER_DAY, (broken[-1] + 1) * MICROS_PER_DAY)

    def alarmed(until: int, without: Sequence[Span] = ()) -> set[int]:
        found = judge(reference, tiles, until, FIRST, without)
        return {each.days for each in found if each.alarm and each.name == "credit_score_rank"}

    assert alarmed(FIRST + 35) == {MONTH}
    assert alarmed(FIRST + 35, [span]) == set()
    assert 7 in alarmed(FIRST + 21, [span]), "how it goes on is still seen"
    four_weeks = {each.rows for each in judge(reference, tiles, FIRST + 35, FIRST, [span]) if each.days == MONTH}
    assert sum(tiles[day].rows for day in range(FIRST + 7, FIRST + 35) if day not in broken) in four_weeks


def test_no_week_has_moved_against_one_before_whose_input_was_broken() -> None:
    name = "purchases_30d"
    stream = [(day, each) for day, each, _, _ in days(300, 40, seed=6)]
    until = FIRST + 40

    def read(each: Purchases, shift: float) -> Purchases:
        drawn = np.random.default_rng(each.occurred_us[0]).normal(shift, 1, (len(each), 1))
        return replace(each, features=drawn.astype(np.float32))

    first = read(stream[0][1], 0.0)
    reference = reference_of(first, (name,), np.full(len(first), 0.05), (FIRST, FIRST + 1))
    tiles = {
        day: tile_of(reference.layout, read(each, 2.0 if day < until - 7 else 0.0), np.full(len(each), 0.05))
        for day, each in stream[19:]
    }
    settled = until - 14 - SETTLED_DAYS
    assert any(each.alarm for each in judge(reference, tiles, until, settled) if each.name == name)
    without = [((until - 14) * MICROS_PER_DAY, (until - 8) * MICROS_PER_DAY + 1)]
    found = judge(reference, tiles, until, settled, without)
    assert {each.days for each in found if each.name == name} == {1}, "the day before yesterday was sound"


def test_what_ages_by_itself_is_compared_with_the_week_before_once_the_stream_has_settled() -> None:
    """It has moved away from the reference long ago, and stands still since; then there is a spree."""
    name = "purchases_30d"
    assert name in AGEING
    stream = list(days(100, 40, seed=6))
    purchases = [(day, each, np.full(len(each), 0.05)) for day, each, _, _ in stream]

    def aged(each: Purchases, shift: float) -> Purchases:
        drawn = np.random.default_rng(each.occurred_us[0]).normal(shift, 1, (len(each), 1))
        return replace(each, features=drawn.astype(np.float32))

    first = aged(purchases[0][1], 0.0)
    reference = reference_of(first, (name,), purchases[0][2], (FIRST, FIRST + 1))
    tiles = {day: tile_of(reference.layout, aged(each, 0.7), said) for day, each, said in purchases[20:]}
    until = FIRST + 40
    young = judge(reference, tiles, until, FIRST)
    assert not [each for each in young if each.name == name]
    settled = [each for each in judge(reference, tiles, until, until - 14 - SETTLED_DAYS) if each.name == name]
    assert {each.against for each in settled} == {"before"}
    assert not any(each.alarm for each in settled)
    spree = tiles | {
        day: tile_of(reference.layout, aged(each, 2.0), said) for day, each, said in purchases if day >= until - 7
    }
    assert any(each.alarm for each in judge(reference, spree, until, until - 14 - SETTLED_DAYS) if each.name == name)


@pytest.mark.parametrize(("name", "against"), [("purchases_30d", "before"), ("amount", "reference")])
def test_the_probability_within_a_group_ages_with_what_the_model_reads(name: str, against: str) -> None:
    """All probabilities of the last three weeks are higher than those of the reference."""
    draws = np.random.default_rng(3)
    stream = [(day, each) for day, each, _, _ in days(300, 40, seed=6)]

    def said(each: Purchases, level: float) -> np.ndarray:
        return draws.normal(level, 0.004, len(each))

    def read(each: Purchases) -> Purchases:
        return replace(each, features=draws.normal(0, 1, (len(each), 1)).astype(np.float32))

    first = read(stream[0][1])
    reference = reference_of(first, (name,), said(first, 0.05), (FIRST, FIRST + 1))
    tiles = {day: tile_of(reference.layout, read(each), said(each, 0.06)) for day, each in stream[19:]}
    until = FIRST + 40
    found = judge(reference, tiles, until, until - 14 - SETTLED_DAYS)
    within = [each for each in found if each.kind == "prediction within" and each.days == 7]
    assert {each.against for each in within} == {against}
    assert any(each.alarm for each in within) == (against == "reference")
    [whole] = [each for each in found if each.kind == "prediction" and each.days == 7]
    assert (whole.against, whole.alarm) == ("reference", True)
