"""Bins, tiles, references: what is counted, and that days can be added."""

from __future__ import annotations

from dataclasses import replace

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from services.trainer.monitoring import bins, repeats
from services.trainer.monitoring.purchases import Purchases
from services.trainer.monitoring.reference import (
    MAX_GROUPS,
    Reference,
    decode_reference,
    encode_reference,
    reference_days,
    reference_of,
)
from services.trainer.monitoring.tiles import OTHER, Tile, tile_of, tiles_by_day, window
from shared.model_artifact.manifest import ArtifactFault, ArtifactRefused, DataWindow
from tests.unit.trainer.monitoring.streams import FIRST, NAMES, days, joined

values = arrays(np.float64, st.integers(1, 80), elements=st.sampled_from([-2.0, 0.0, 0.5, 1.0, 3.0, 7.25, np.nan]))


@pytest.fixture(scope="module")
def week() -> list[tuple[int, Purchases, np.ndarray]]:
    return [(day, purchases, said) for day, purchases, said, _ in days(60, 7, seed=3)]


@pytest.fixture(scope="module")
def reference(week: list[tuple[int, Purchases, np.ndarray]]) -> Reference:
    return made(week)


def made(week: list[tuple[int, Purchases, np.ndarray]]) -> Reference:
    said = np.concatenate([each for _, _, each in week])
    return reference_of(joined([each for _, each, _ in week]), NAMES, said, (FIRST, FIRST + 7))


@given(values)
def test_every_value_falls_into_one_bin_and_missing_ones_into_the_last(given_values: np.ndarray) -> None:
    edges = bins.edges_of(given_values)
    counts = bins.histogram(given_values, edges)
    assert counts.sum() == len(given_values)
    assert counts[-1] == np.isnan(given_values).sum()
    assert len(counts) == bins.size(edges)


@given(values, values)
def test_histograms_of_two_days_add_up_to_that_of_both(one: np.ndarray, other: np.ndarray) -> None:
    edges = bins.edges_of(one)
    both = bins.histogram(np.concatenate([one, other]), edges)
    assert (bins.histogram(one, edges) + bins.histogram(other, edges) == both).all()


def test_of_few_distinct_values_each_has_its_bin_and_unseen_ones_none_of_theirs() -> None:
    edges = bins.edges_of(np.array([1.0, 0.0, 1.0, 2.0]))
    assert bins.histogram(np.array([0.0, 1.0, 1.0, 2.0, 3.0, -1.0, np.nan]), edges).tolist() == [1, 1, 2, 1, 1, 1]


def test_of_many_values_each_bin_holds_about_a_tenth() -> None:
    drawn = np.random.default_rng(1).lognormal(size=5000)
    counts = bins.histogram(drawn, bins.edges_of(drawn))
    assert counts[:-1].tolist() == pytest.approx([500] * 10, abs=1)


def test_a_customer_who_comes_often_tells_less_than_as_many_who_come_once() -> None:
    once = np.array([f"c{i}" for i in range(4000)], object)
    often = np.array([f"d{i % 400}" for i in range(4000)], object)
    other = repeats.sketch(np.array([f"e{i}" for i in range(4000)], object))
    alone = repeats.variance_factor(repeats.sketch(once), 4000, other, 4000)
    clustered = repeats.variance_factor(repeats.sketch(often), 4000, other, 4000)
    safe = 1 + repeats.ERRORS * (2 / repeats.WIDTH) ** 0.5
    # Exactly: 400 customers of 10 purchases have 400 * (10 / 4000) ** 2 = 1 / 400.
    assert clustered == pytest.approx((1 / 400 + 1 / 4000) * safe, rel=0.2)
    assert alone == pytest.approx(2 / 4000 * safe, rel=0.2)


def test_sketches_of_two_days_add_up_to_that_of_both() -> None:
    one, other = (np.array([f"c{i % k}" for i in range(50)], object) for k in (7, 20))
    both = repeats.sketch(np.concatenate([one, other]))
    assert (repeats.sketch(one) + repeats.sketch(other) == both).all()


def test_tiles_of_days_add_up_to_that_of_the_week(
    week: list[tuple[int, Purchases, np.ndarray]], reference: Reference
) -> None:
    layout = reference.layout
    whole, said = joined([each for _, each, _ in week]), np.concatenate([each for _, _, each in week])
    tiles = dict(tiles_by_day(layout, whole, said, range(FIRST - 1, FIRST + 7)))
    assert tiles[FIRST - 1].rows == 0
    assert same(window(tiles, layout, FIRST + 7, 7), tile_of(layout, whole, said))
    assert (window(tiles, layout, FIRST + 7, 7).counts == reference.counts).all()


def same(one: Tile, other: Tile) -> bool:
    arrays_same = all((getattr(one, name) == getattr(other, name)).all() for name in ("counts", "repeats", "ages"))
    return arrays_same and (one.rows, one.degraded) == (other.rows, other.degraded)


def test_a_tile_says_how_old_purchases_were_and_why_a_fallback_decided(
    week: list[tuple[int, Purchases, np.ndarray]], reference: Reference
) -> None:
    _, purchases, said = week[0]
    count = len(purchases)
    age = np.where(np.arange(count) < count // 2, 0.02, 9.0)
    age[0] = np.nan  # loaded, never decided
    degraded = np.array(["no_model"] + [""] * (count - 1), object)
    tile = tile_of(reference.layout, replace(purchases, age_s=age, degraded=degraded), said)
    assert tile.decided == count - 1
    assert 0.02 <= (tile.age_quantile(0.3) or 0) <= 0.04
    assert 9 <= (tile.age_quantile(0.99) or 0) <= 18
    assert tile.degraded == {"no_model": 1}


def test_a_group_that_the_reference_has_never_seen_is_counted_as_other(
    week: list[tuple[int, Purchases, np.ndarray]], reference: Reference
) -> None:
    _, purchases, said = week[0]
    groups = purchases.segments | {"currency": np.full(len(purchases), "EUR", object)}
    split = reference.layout.split(tile_of(reference.layout, replace(purchases, segments=groups), said).counts)
    assert split.segments["currency"][OTHER].sum() == len(purchases)
    assert split.segments["currency"]["USD"].sum() == 0


def test_the_same_purchases_give_the_same_bytes_in_any_order(
    week: list[tuple[int, Purchases, np.ndarray]], reference: Reference
) -> None:
    assert encode_reference(made(week[::-1])) == encode_reference(reference)
    assert decode_reference(encode_reference(reference)) == reference
    assert encode_reference(made(week[:-1])) != encode_reference(reference)


@pytest.mark.parametrize("data", [b"{", b"[]", b'{"first_day": 1}'])
def test_what_is_no_reference_is_refused(data: bytes) -> None:
    with pytest.raises(ArtifactRefused) as refused:
        decode_reference(data)
    assert refused.value.reason == ArtifactFault.SYNTAX


def test_a_reference_whose_histograms_do_not_fit_its_bins_is_refused(reference: Reference) -> None:
    short = msgspec.structs.replace(reference, counts=reference.counts[:-1])
    with pytest.raises(ArtifactRefused) as refused:
        decode_reference(encode_reference(short))
    assert refused.value.reason == ArtifactFault.SHAPE


def test_free_text_in_a_segment_does_not_grow_a_reference(week: list[tuple[int, Purchases, np.ndarray]]) -> None:
    _, purchases, said = week[0]
    texts = np.array([f"text {i}" for i in range(len(purchases))], object)
    grown = replace(purchases, segments=purchases.segments | {"currency": texts})
    assert len(reference_of(grown, NAMES, said, (FIRST, FIRST + 1)).segments["currency"]) == MAX_GROUPS


@pytest.mark.parametrize(
    ("validate_from", "test_from", "test_to", "first", "end"),
    [
        # Whole days from 2026-03-02 on, in whole weeks back from the last.
        ("2026-03-01T13:00:00Z", "2026-03-10T00:00:00Z", "2026-03-18T09:00:00Z", 4, 18),
        # Less than a week: what there is.
        ("2026-03-01T13:00:00Z", "2026-03-03T00:00:00Z", "2026-03-04T09:00:00Z", 1, 5),
        # Validated after the test part: the test part.
        ("2026-03-05T13:00:00Z", "2026-03-02T00:00:00Z", "2026-03-04T09:00:00Z", 2, 5),
    ],
)
def test_a_reference_covers_whole_weeks_of_the_hold_out(
    validate_from: str, test_from: str, test_to: str, first: int, end: int
) -> None:
    held_out = DataWindow("", "", validate_from, test_from, test_to, 0, 0, 0, "")
    march = (np.datetime64("2026-03-01") - np.datetime64("1970-01-01")).astype(int)
    assert reference_days(held_out) == (march + first - 1, march + end - 1)
