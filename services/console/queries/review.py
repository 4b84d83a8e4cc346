"""The review queue: what waits for a person, and what people have said."""

from __future__ import annotations

from datetime import datetime

from services.console.queries.query import Query, at, query
from shared.warehouse import tables
from shared.warehouse.views import AFTER_THE_FACT

# Of an erased customer nothing is left to judge. Nor is there anything to decide of what was decided after the fact: a
# history that is replayed would stand with thousands of purchases of long ago before those that somebody waits for.
_WAITING = f"""
FROM {at(tables.DECISIONS)} AS d
LEFT JOIN (
  SELECT DISTINCT event_id FROM {at(tables.DECISION_UPDATES)} WHERE kafka_timestamp >= @since
) AS u ON u.event_id = d.event_id
WHERE d.prediction_timestamp >= @since AND d.decision = 'review' AND d.customer_id IS NOT NULL AND u.event_id IS NULL
  AND NOT {AFTER_THE_FACT}
"""
"""A verdict ends the waiting, and so does a purchase that was called off: both come after the decision."""


def waiting(since: datetime, limit: int) -> Query:
    """Decisions that wait for a verdict, those that have waited longest first; a repeated record repeats its row, since
    making half a million of them unique takes longer than finding the first fifty."""
    return query(
        f"""
SELECT
  d.event_id, d.customer_id, d.occurred_at, d.prediction_timestamp, d.probability_of_default, d.expected_loss,
  d.reasons, d.degraded, d.kafka_partition
{_WAITING}
ORDER BY d.prediction_timestamp
LIMIT {limit:d}
""",
        since=since,
    )


def how_many_wait(since: datetime) -> Query:
    return query(f"SELECT COUNT(DISTINCT d.event_id) AS waiting {_WAITING}", since=since)


def given(since: datetime, limit: int) -> Query:
    """The latest verdicts: who decided what."""
    return query(
        f"""
SELECT update_id, event_id, verdict, actor, note, updated_at
FROM {at(tables.DECISION_UPDATES)}
WHERE kafka_timestamp >= @since AND kind = 'verdict'
QUALIFY ROW_NUMBER() OVER (PARTITION BY update_id ORDER BY kafka_partition, kafka_offset) = 1
ORDER BY updated_at DESC
LIMIT {limit:d}
""",
        since=since,
    )
