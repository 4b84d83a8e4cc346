"""Histograms of a day's purchases, laid out as the reference says. Tiles of days can be added."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from services.trainer.monitoring import bins
from services.trainer.monitoring.bins import Counts
from services.trainer.monitoring.purchases import Purchases
from services.trainer.monitoring.repeats import WIDTH, sketch

OTHER = "other"
"""The group of what the reference has never seen."""

AGE_EDGES_S = tuple(float(edge) for edge in np.round(10 ** np.arange(-3, 7.01, 0.25), 6))
"""From a millisecond to four months, four to a factor of ten: a quantile read from them is at most twice the truth."""


@dataclass(frozen=True)
class Layout:
    """Which histograms there are, one after the other in a vector."""

    features: Mapping[str, Sequence[float]]
    """Name to edges, in the model's order."""
    probability: Sequence[float]
    """Edges of the calibrated probability."""
    segments: Mapping[str, Sequence[str]]
    """Name to groups, without `other`."""

    def groups(self, segment: str) -> list[str]:
        return [*self.segments[segment], OTHER]

    @property
    def size(self) -> int:
        grouped = sum(len(self.groups(segment)) for segment in self.segments)
        return sum(map(bins.size, self.features.values())) + (1 + grouped) * bins.size(self.probability)

    def counted(self, purchases: Purchases, probability: NDArray[np.float64]) -> Counts:
        """[size] all histograms of these purchases. `probability`: [n], calibrated."""
        parts = [
            bins.histogram(purchases.features[:, place], edges) for place, edges in enumerate(self.features.values())
        ]
        parts.append(bins.histogram(probability, self.probability))
        width, at = bins.size(self.probability), bins.placed(probability, self.probability)
        for segment, known in self.segments.items():
            number = {group: i for i, group in enumerate(known)}
            group = np.array([number.get(each, len(known)) for each in purchases.segments[segment]], np.int64)
            parts.append(np.bincount(group * width + at, minlength=(len(known) + 1) * width).astype(np.int64))
        return np.concatenate(parts)

    def split(self, counts: Counts) -> Split:
        """The histograms by their names."""
        start = 0

        def next_of(length: int) -> Counts:
            nonlocal start
            start += length
            return counts[start - length : start]

        features = {name: next_of(bins.size(edges)) for name, edges in self.features.items()}
        width = bins.size(self.probability)
        probability = next_of(width)
        segments = {segment: {group: next_of(width) for group in self.groups(segment)} for segment in self.segments}
        return Split(features, probability, segments)


@dataclass(frozen=True)
class Split:
    features: Mapping[str, Counts]
    probability: Counts
    segments: Mapping[str, Mapping[str, Counts]]
    """Segment to group to its histogram of the probability."""

    def mix(self, segment: str) -> Counts:
        """How many purchases each group has."""
        return np.array([counts.sum() for counts in self.segments[segment].values()], np.int64)


@dataclass(frozen=True)
class Tile:
    """One or several days."""

    rows: int
    counts: Counts
    repeats: NDArray[np.int64]
    """[WIDTH] repeats.py"""
    ages: Counts
    """Of decided purchases, in `AGE_EDGES_S`."""
    degraded: Counter[str]
    """How many a fallback decided, by why."""

    def __add__(self, other: Tile) -> Tile:
        return Tile(
            self.rows + other.rows,
            self.counts + other.counts,
            self.repeats + other.repeats,
            self.ages + other.ages,
            self.degraded + other.degraded,
        )

    @property
    def decided(self) -> int:
        return int(self.ages.sum())

    def age_quantile(self, share: float) -> float | None:
        """Upper edge of the bin that holds it, in seconds; None where nothing was decided."""
        if self.decided == 0:
            return None
        place = int(np.searchsorted(np.cumsum(self.ages), share * self.decided))
        return AGE_EDGES_S[min(place, len(AGE_EDGES_S) - 1)]


def empty(layout: Layout) -> Tile:
    ages = np.zeros(bins.size(AGE_EDGES_S), np.int64)
    return Tile(0, np.zeros(layout.size, np.int64), np.zeros(WIDTH, np.int64), ages, Counter())


def tile_of(layout: Layout, purchases: Purchases, probability: NDArray[np.float64]) -> Tile:
    """All of these purchases as one tile."""
    known = purchases.age_s[~np.isnan(purchases.age_s)]
    return Tile(
        len(purchases),
        layout.counted(purchases, probability),
        sketch(purchases.customer_id),
        bins.histogram(known, AGE_EDGES_S),
        Counter(why for why in purchases.degraded.tolist() if why),
    )


def tiles_by_day(
    layout: Layout, purchases: Purchases, probability: NDArray[np.float64], days: Iterable[int]
) -> Iterator[tuple[int, Tile]]:
    """A tile for each of the days, empty where nothing was bought."""
    day = purchases.day
    for wanted in days:
        mine = day == wanted
        yield wanted, tile_of(layout, purchases.take(mine), probability[mine]) if mine.any() else empty(layout)


def window(tiles: Mapping[int, Tile], layout: Layout, until: int, days: int) -> Tile:
    """The sum of the days in [until - days, until); days without a tile count as empty."""
    found = empty(layout)
    for day in range(until - days, until):
        if day in tiles:
            found += tiles[day]
    return found
