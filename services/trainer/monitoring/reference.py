"""What purchases looked like when a model was judged: histograms that are stored with it, as `reference.json`.

They are made of all purchases of its hold-out (validation and test part), approved or not, matured or not: what the
model is asked about in service is not what was lent, and of the youngest matured purchases all have short plans.
The same purchases give the same bytes, whatever their order.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import msgspec
import numpy as np
from numpy.typing import NDArray

from services.trainer.monitoring import bins
from services.trainer.monitoring.purchases import SEGMENTS, Purchases
from services.trainer.monitoring.tiles import Layout, Tile, empty, tile_of
from shared.contracts.identity import EPOCH, canonical_time, epoch_micros
from shared.feature_definitions.windows import MICROS_PER_DAY
from shared.model_artifact.manifest import ArtifactFault, ArtifactRefused, DataWindow

MAX_ROWS = 50_000
"""Of a reference, drawn by a hash of the event: with more, what is measured against it would hardly get sharper."""

MAX_GROUPS = 24
"""Of a segment: the largest. The others are `other`, so that no producer's free text grows the file."""

DAYS_PER_WEEK = 7

Arrivals = Callable[[int, int, tuple[str, ...]], Purchases]
"""All purchases of the days in [first, end), with these features; no more than about `MAX_ROWS` of them."""


class Reference(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Days since 1970, the last one not included."""

    first_day: int
    end_day: int
    rows: int
    features: dict[str, list[float]]
    """Name to the edges of its bins (bins.py), in the model's order."""
    probability: list[float]
    segments: dict[str, list[str]]
    counts: list[int]
    """All histograms in the order of tiles.Layout."""
    repeats: list[int]

    @property
    def layout(self) -> Layout:
        return Layout(self.features, self.probability, self.segments)

    @property
    def tile(self) -> Tile:
        counts, repeats = (np.array(each, np.int64) for each in (self.counts, self.repeats))
        return replace(empty(self.layout), rows=self.rows, counts=counts, repeats=repeats)

    @property
    def span(self) -> tuple[str, str]:
        """Canonical times: from the first moment to the first that is no longer in it."""
        start, end = (canonical_time(EPOCH + timedelta(days=day)) for day in (self.first_day, self.end_day))
        return start, end


def reference_days(window: DataWindow) -> tuple[int, int]:
    """First day and end of the whole days of a model's hold-out, in whole weeks where it has one: a reference with more
    Sundays than others would take each week for a change."""
    # With a validation part after the test part (hazard labels) the hold-out is the test part.
    begins_us = min(epoch_micros(window.validate_from), epoch_micros(window.test_from))
    first = -(-begins_us // MICROS_PER_DAY)
    end = epoch_micros(window.test_to) // MICROS_PER_DAY
    weeks = (end - first) // DAYS_PER_WEEK
    if weeks >= 1:
        return end - weeks * DAYS_PER_WEEK, end
    return begins_us // MICROS_PER_DAY, end + 1


def reference_of(
    purchases: Purchases, names: tuple[str, ...], probability: NDArray[np.float64], days: tuple[int, int]
) -> Reference:
    """`names`: of the features, in the columns' order. `probability`: [n], calibrated."""
    layout = Layout(
        {name: bins.edges_of(purchases.features[:, place]) for place, name in enumerate(names)},
        bins.edges_of(probability),
        {segment: _groups(purchases.segments[segment]) for segment in SEGMENTS},
    )
    tile = tile_of(layout, purchases, probability)
    return Reference(
        first_day=days[0],
        end_day=days[1],
        rows=tile.rows,
        features={name: list(edges) for name, edges in layout.features.items()},
        probability=list(layout.probability),
        segments={name: list(groups) for name, groups in layout.segments.items()},
        counts=tile.counts.tolist(),
        repeats=tile.repeats.tolist(),
    )


def _groups(column: NDArray[np.object_]) -> list[str]:
    names, purchases = np.unique(column.astype(str), return_counts=True)
    largest = np.lexsort((names, -purchases))[:MAX_GROUPS]
    return sorted(names[largest].tolist())


def encode_reference(reference: Reference) -> bytes:
    return msgspec.json.encode(reference)


def decode_reference(data: bytes) -> Reference:
    """Raises ArtifactRefused for bytes that are no reference."""
    try:
        reference = msgspec.json.decode(data, type=Reference)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ArtifactRefused(ArtifactFault.SYNTAX, f"reference: {error}") from None
    if len(reference.counts) != reference.layout.size:
        raise ArtifactRefused(ArtifactFault.SHAPE, "the reference's histograms don't have the bins that it names")
    return reference
