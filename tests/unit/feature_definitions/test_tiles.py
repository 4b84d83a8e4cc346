"""Sums over tiles, however they are kept, against sums that are added up anew."""

from __future__ import annotations

import random

import pytest

from shared.feature_definitions import CustomerState
from shared.feature_definitions.tiles import Tiles
from shared.feature_definitions.totals import Purchase, Totals
from tests import factories


def purchase(draw: random.Random) -> Purchase:
    currency = draw.choice(["USD", "EUR"])
    hashes = range(60)  # more than are told apart
    return Purchase(
        0, draw.randrange(1, 500), currency, draw.choice(hashes), draw.randrange(6), draw.choice(hashes), 4, 14
    )


def values(totals: Totals | None) -> tuple[object, ...]:
    totals = totals or Totals()
    distinct = [min(32, len(ids)) for ids in (totals.devices, totals.methods)]
    return totals.n, totals.nights, totals.categories, dict(sorted(totals.money.items())), *distinct


def added_up(tiles: Tiles, first: int) -> Totals:
    totals = Totals()
    for number, tile in tiles.items():
        if number >= first:
            totals.merge(tile)
    return totals


@pytest.mark.parametrize("seed", range(20))
def test_sums_are_those_of_the_tiles_while_the_window_moves_and_purchases_come_late(seed: int) -> None:
    draw = random.Random(seed)
    tiles, latest, floor = Tiles(), 0, 0
    for _ in range(200):
        latest += draw.choice([0, 0, 1, 1, 2, 40])
        late = draw.random() < 0.1
        tiles.add(latest - (draw.randrange(50) if late else 0), purchase(draw))
        floor = max(floor, latest - 30)
        if draw.random() < 0.5:
            tiles.drop_before(floor)
        for first in (floor, floor + 5, latest, latest + 1):
            assert values(tiles.sum_from(first)) == values(added_up(tiles, first))


def test_a_tile_that_comes_too_late_is_dropped_with_the_next_look_though_the_window_stood_still() -> None:
    """States of the same purchases have the same bytes, however often they were written and read in between."""
    tiles = Tiles()
    tiles.add(10, purchase(random.Random(1)))
    tiles.drop_before(10)
    tiles.add(3, purchase(random.Random(2)))
    tiles.drop_before(10)
    assert list(tiles) == [10]


def test_a_sum_is_the_callers_own() -> None:
    tiles = Tiles()
    for number in range(3):
        tiles.add(number, purchase(random.Random(number)))
    for _ in range(3):
        found = tiles.sum_from(0)
        assert found is not None
        assert found.n == 3
        found.add(purchase(random.Random(9)))


def test_a_state_kept_in_memory_has_the_bytes_of_one_that_was_written_and_read_after_each_purchase() -> None:
    draw = random.Random(5)
    kept, stored = CustomerState(), CustomerState()
    t_us = factories.START_US
    for number in range(300):
        t_us += draw.choice([1, 30, 3_000, 100_000]) * factories.SECOND_US
        early_us = draw.choice([0, 0, 0, draw.randrange(20) * factories.DAY_US])
        bought = factories.accepted(number, t_us=t_us - early_us)
        kept.add_purchase(bought)
        stored.add_purchase(bought)
        stored = CustomerState.decode(stored.encode())
        assert kept.encode() == stored.encode()
