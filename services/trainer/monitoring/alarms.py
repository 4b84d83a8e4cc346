"""Whether what comes in has moved. Pure.

A look compares the last whole days of the stream, as windows of one day, one week and four weeks, with the reference:
each input feature, the calibrated probability, the mix of each segment, and the probability within each group of it.
Two things have to come together for an alarm:

* the change matters: its population stability index reaches the window's floor (`FLOORS`). With enough purchases every
  difference is significant, and none of them is worth waking anybody;
* chance doesn't explain it: its p-value (distance.py, with repeated customers taken into account) is at most
  1 / (`DAYS_PER_FALSE_ALARM` * tests of a look). Only whole days are compared, so looks of one day all see the same,
  and there are as many chances of a false alarm as days, however often somebody looks. By the union bound noise then
  raises an alarm, of anything, less than once in `DAYS_PER_FALSE_ALARM` days: whatever depends on whatever.

What grows older by itself (the rolling features, how long customers have been with us) is compared with the window
before, not with the reference: it moves with the stream's age though nothing has happened. Not with four weeks, over
which it moves too far, and not before the longest loans of the stream's first days have ended. The probability within a
group, of a model that reads such a feature, ages with it and is treated alike: a group's probabilities lie close
together, so that a small shift of all moves many across an edge (in a simulated year whose customers' tenure grew from
one month to five, the index within two groups rose from nothing to 0.19, day by day). The probability of all purchases
stays compared with the reference: where ageing hurts the model, that moves.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from services.trainer.monitoring.bins import Counts
from services.trainer.monitoring.distance import chance, jensen_shannon, population_stability
from services.trainer.monitoring.reference import DAYS_PER_WEEK, Reference
from services.trainer.monitoring.repeats import variance_factor
from services.trainer.monitoring.tiles import Split, Tile, window
from services.trainer.spans import Span, touched
from shared.feature_definitions.declarations import FEATURES

WEEK, MONTH = DAYS_PER_WEEK, 4 * DAYS_PER_WEEK

FLOORS: dict[int, float] = {1: 0.25, WEEK: 0.1, MONTH: 0.1}
"""Window in days to the least index that counts. 0.1 is where the field begins to speak of change, 0.25 of a major one:
a single day, which may be a holiday, alarms for that alone."""

DAYS_PER_FALSE_ALARM = 365
"""One a year by noise, where one a month may be; the rest is for what the assumptions miss."""

MIN_ROWS = 100
"""Of a window: below it bins are nearly all empty."""

AGEING = frozenset({feature.name for feature in FEATURES if feature.rolling} | {"tenure_days"})
"""Features that move by themselves as the stream and its customers grow older."""

SETTLED_DAYS = 84 + 30
"""From the start of a stream until ageing features may be judged: the longest plan (six payments, two weeks apart), so
that outcomes of the past are known, and the longest rolling window."""

LOOK_BACK_DAYS = MONTH
"""How many days of tiles a look needs: that of the longest window, and of two weeks."""

FEATURE, PREDICTION, SEGMENT, WITHIN = "feature", "prediction", "segment", "prediction within"


@dataclass(frozen=True)
class Finding:
    """One histogram of one window, against the reference or the window before."""

    kind: str
    """`feature`, `prediction`, `segment` (its mix), or `prediction within` (a group of a segment)."""
    name: str
    """Of the feature or segment, `segment=group`, or `probability`."""
    days: int
    against: str
    """`reference` or `before`."""
    rows: int
    score: float
    """Population stability index."""
    threshold: float
    """Of the index."""
    jensen_shannon: float
    """Bits."""
    p_value: float
    p_needed: float
    missing: float | None
    """Share of the window's purchases without a value; None where that makes no sense."""
    missing_before: float | None

    @property
    def alarm(self) -> bool:
        return self.score >= self.threshold and self.p_value <= self.p_needed

    def __str__(self) -> str:
        return (
            f"{self.kind} {self.name}: index {self.score:.3f} over {self.days} days against the {self.against} "
            f"({self.rows} purchases, p {self.p_value:.1e})"
        )


def number_of_tests(reference: Reference) -> int:
    """How many findings share the false alarms, whether or not a look can make them all."""
    groups = sum(len(reference.layout.groups(segment)) for segment in reference.segments)
    return len(FLOORS) * (len(reference.features) + 1 + len(reference.segments) + groups)


def judge(
    reference: Reference,
    tiles: Mapping[int, Tile],
    until_day: int,
    stream_began: int,
    without: Sequence[Span] = (),
) -> list[Finding]:
    """All findings of the whole days before `until_day`. `stream_began`: day of its first purchase.

    `without`: times whose input was broken. The last day and the last week show it for as long as they hold any of it,
    so that it is seen how it goes on; four weeks would for three weeks more, and what is sound now would have moved
    against a week before that wasn't. So the days that these touch are left out of the four weeks, and no window is
    compared with one before that holds any of them.
    """
    sound = {day: tile for day, tile in tiles.items() if not touched(day, without)}
    layout = reference.layout
    ages = not AGEING.isdisjoint(reference.features)
    p_needed = 1.0 / (DAYS_PER_FALSE_ALARM * number_of_tests(reference))
    found: list[Finding] = []
    for days, floor in FLOORS.items():
        now = window(tiles if days <= WEEK else sound, layout, until_day, days)
        if now.rows < MIN_ROWS or (days > WEEK and _left(until_day, days, without) < WEEK):
            continue
        to_reference = _Comparison("reference", reference.tile, now, days, floor, p_needed)
        first, last = layout.split(reference.tile.counts), layout.split(now.counts)
        found += to_reference.findings(first, last, AGEING)
        if not ages:
            found += to_reference.within(first, last)
        before = window(tiles, layout, until_day - days, days)
        whole = _left(until_day - days, days, without) == days
        if days <= WEEK and whole and before.rows >= MIN_ROWS and until_day - 2 * days >= stream_began + SETTLED_DAYS:
            to_before = _Comparison("before", before, now, days, floor, p_needed)
            earlier = layout.split(before.counts)
            found += to_before.ageing(earlier.features, last.features)
            if ages:
                found += to_before.within(earlier, last)
    return found


def _left(until_day: int, days: int, without: Sequence[Span]) -> int:
    """How many days of a window none of these times touches."""
    return sum(not touched(day, without) for day in range(until_day - days, until_day))


@dataclass(frozen=True)
class _Comparison:
    against: str
    before: Tile
    now: Tile
    days: int
    floor: float
    p_needed: float

    def findings(self, before: Split, now: Split, without: frozenset[str]) -> Iterator[Finding]:
        for name in (name for name in now.features if name not in without):
            yield self.finding(FEATURE, name, before.features[name], now.features[name])
        yield self.finding(PREDICTION, "probability", before.probability, now.probability)
        for segment in now.segments:
            yield self.finding(SEGMENT, segment, before.mix(segment), now.mix(segment))

    def within(self, before: Split, now: Split) -> Iterator[Finding]:
        """The probability within each group that has enough purchases."""
        for segment, groups in now.segments.items():
            for group, counts in groups.items():
                if counts.sum() >= MIN_ROWS:
                    yield self.finding(WITHIN, f"{segment}={group}", before.segments[segment][group], counts)

    def ageing(self, before: Mapping[str, Counts], now: Mapping[str, Counts]) -> Iterator[Finding]:
        for name in (name for name in now if name in AGEING):
            yield self.finding(FEATURE, name, before[name], now[name])

    def finding(self, kind: str, name: str, before: Counts, now: Counts) -> Finding:
        rows, earlier = int(now.sum()), int(before.sum())
        # Of a group: as much clustered as all purchases are.
        factor = self._factor * max(1.0, (1 / rows + 1 / max(earlier, 1)) / (1 / self.now.rows + 1 / self.before.rows))
        measured = kind in (FEATURE, PREDICTION)
        return Finding(
            kind,
            name,
            self.days,
            self.against,
            rows,
            population_stability(before, now),
            self.floor,
            jensen_shannon(before, now),
            chance(before, now, factor),
            self.p_needed,
            float(now[-1]) / rows if measured else None,
            float(before[-1]) / max(earlier, 1) if measured else None,
        )

    @cached_property
    def _factor(self) -> float:
        return variance_factor(self.before.repeats, self.before.rows, self.now.repeats, self.now.rows)
