"""The days on which purchases were decided, and what is read of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from services.console.queries.query import DAY_S, Query, Row, at, query, within
from shared.warehouse import tables

MOST_READ = 200_000
"""Decisions whose features are read, some two kilobytes each, to draw cases from."""

MOST_BILLED = 3_000_000
"""About so many decisions have all the days that are drawn: BigQuery reads a day as a whole, however short the part
that is asked for. With their purchases these are some eight of the gigabytes that a question may read
(`warehouse.MOST_BYTES`); the outcomes of all days need as much."""

FEWEST_DAYS = 12
"""Of those that are drawn, where there are so many: each day of the week is among them, and what was peculiar to one
(a sale, an outage, a history that was brought in) is hardly more than a twelfth of what is read."""

GOLDEN = 0.618_033_988_749_895
"""Its multiples' fractions lie as evenly in a day as can be, however many there are."""

INSTANT = timedelta(microseconds=1)
"""The finest that a time is told."""

Window = tuple[datetime, datetime]
"""[begins, ends)."""


@dataclass(frozen=True, slots=True)
class Day:
    """Decisions of one day, or of a part of it."""

    decisions: int
    began: datetime
    """When the first of them was made."""
    ended: datetime
    first: datetime
    """Of their purchases."""
    last: datetime


def decided_between(since: datetime, until: datetime) -> Query:
    """`decisions`: how many purchases of [since, until) were decided on each `day` (since 1970); when that `began` and
    `ended`; the times of the `first` and the `last` of those purchases. In a replay of history a day has decisions on
    purchases of many."""
    return _decided(since, until, "")


def decided_in(windows: Sequence[Window], since: datetime, until: datetime) -> Query:
    """As `decided_between`, of parts of days; one without a decision has no row."""
    parts = " OR ".join(within("prediction_timestamp", *window) for window in windows)
    return _decided(since, until, f"AND ({parts})")


def _decided(since: datetime, until: datetime, parts: str) -> Query:
    return query(
        f"""
SELECT
  DIV(UNIX_SECONDS(prediction_timestamp), {DAY_S}) AS day, COUNT(*) AS decisions, MIN(prediction_timestamp) AS began,
  MAX(prediction_timestamp) AS ended, MIN(occurred_at) AS first, MAX(occurred_at) AS last
FROM {at(tables.DECISIONS)}
WHERE prediction_timestamp >= @since AND occurred_at >= @since AND occurred_at < @until
  AND customer_id IS NOT NULL AND kafka_offset IS NOT NULL {parts}
GROUP BY day
ORDER BY day
""",
        since=since,
        until=until,
    )


def days_of(rows: Sequence[Row]) -> list[Day]:
    """Of `decided_between` or `decided_in`."""
    return [Day(row["decisions"], row["began"], row["ended"], row["first"], row["last"]) for row in rows]


def drawn(days: Sequence[Day], most: int = MOST_READ) -> tuple[list[Day], list[Window]]:
    """Days evenly apart: those to be read as they are, and of each of the others the part to be read. They are as many
    as have about `most` decisions, and where that is too few, `FEWEST_DAYS`, of which none has more than its share of
    `most` read."""
    total = sum(day.decisions for day in days)
    every = max(1, min(-(-total // most), len(days) // FEWEST_DAYS), -(-total // MOST_BILLED))
    if every % 7 == 0:
        every += 1  # else they would all be Mondays
    # From the oldest on: most has matured of it, and a new stack decided its history on it.
    found = days[::every]
    share = most / max(1, len(found))
    if sum(day.decisions for day in found) <= most:
        return list(found), []
    return (
        [day for day in found if day.decisions <= share],
        [_part(day, share, number) for number, day in enumerate(found) if day.decisions > share],
    )


def _part(day: Day, share: float, number: int) -> Window:
    """So long a part of a day's time as would have `share` of its decisions if they came evenly; of each `number` at
    another hour."""
    whole = day.ended - day.began + INSTANT
    length = max(INSTANT, whole * (share / day.decisions))
    begins = day.began + (whole - length) * (GOLDEN * number % 1)
    return begins, begins + length
