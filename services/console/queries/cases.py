"""Logged decisions to be decided again, with what became of the purchases."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from services.console.queries.days import INSTANT, Day
from services.console.queries.query import Query, at, query, within
from shared.warehouse import tables, views
from shared.warehouse.accepted import TRANSACTION_COLUMNS
from shared.warehouse.logged import AFTERWARDS, DECIDED

MOST_CASES = 1_000
"""Enough for a share to within three points, and decided again in a fifth of a second whenever a slider moves."""

SHORTEST_TERM = timedelta(days=views.DAYS_PER_INSTALMENT)
"""Of a purchase in one instalment: nothing that was bought later has matured."""


def clock(since: datetime) -> Query:
    """`moment`: the stream's own time, that of its latest purchase. In a replay of history it, not the wall clock, says
    what has matured."""
    return query(
        f"SELECT MAX(occurred_at) AS moment FROM {at(tables.TRANSACTIONS)} WHERE occurred_at >= @since", since=since
    )


def watched(since: datetime) -> Query:
    """`moment`: up to when outcomes are in. What matured later isn't known for good or bad alike: a default is seen
    before the term is over, a loan that is repaid only then."""
    return query(
        f"""
SELECT MAX(observed_at) AS moment FROM {at(tables.OUTCOMES)} WHERE observed_at >= @since AND misplaced IS NOT TRUE
""",
        since=since,
    )


def matured(since: datetime, until: datetime, as_of: datetime, days: Sequence[Day]) -> Query:
    """Of the decisions of these days, or parts of days, on purchases of [since, until) about `MOST_CASES`, each with
    its outcome where that has matured by `as_of` and a lender would have seen it. Drawn by the place in the log, which
    tells nothing of the purchase."""
    every = max(1, -(-sum(day.decisions for day in days) // MOST_CASES))
    decided = " OR ".join(within("prediction_timestamp", day.began, day.ended + INSTANT) for day in days)
    bought = " OR ".join(within("t.occurred_at", day.first, day.last + INSTANT) for day in days)
    columns = ", ".join(f"t.{name}" for name in TRANSACTION_COLUMNS)
    return query(
        f"""
SELECT
  {columns}, {DECIDED}, TO_JSON_STRING(d.features) AS features,
  IF(TIMESTAMP_ADD(t.occurred_at, INTERVAL {views.plan_days("t")} DAY) <= @as_of
     AND {views.OBSERVED}, o.defaulted, NULL) AS defaulted,
  {AFTERWARDS}
FROM (
  SELECT
    event_id, prediction_timestamp, occurred_at, decision, probability_of_default, degraded, features, reasons,
    policy_version, kafka_partition
  FROM {at(tables.DECISIONS)}
  WHERE prediction_timestamp >= @since AND occurred_at >= @since AND occurred_at < @until
    AND customer_id IS NOT NULL AND MOD(kafka_offset, {every:d}) = 0
    AND ({decided})
  LIMIT {2 * MOST_CASES}
) AS d
JOIN {at(tables.TRANSACTIONS)} AS t ON {views.of_decision("t", "d")}
LEFT JOIN {at(tables.OUTCOMES)} AS o
  ON {views.of_decision("o", "d")} AND o.misplaced IS NOT TRUE AND o.observed_at >= @since
LEFT JOIN ({views.LATEST_VERDICTS}) AS v ON v.event_id = d.event_id
LEFT JOIN ({views.CANCELLED}) AS c ON c.event_id = d.event_id
WHERE t.occurred_at >= @since AND t.occurred_at < @until AND t.misplaced IS NOT TRUE AND t.customer_id IS NOT NULL
  AND ({bought})
QUALIFY ROW_NUMBER() OVER (
  PARTITION BY d.event_id ORDER BY t.kafka_offset, o.kafka_offset DESC NULLS LAST, o.kafka_timestamp DESC) = 1
""",
        since=since,
        until=until,
        as_of=as_of,
    )
