"""Refused records."""

from __future__ import annotations

from datetime import datetime

from services.console.queries.query import DAY_S, Query, at, query
from shared.warehouse import tables

_LETTERS = at(tables.DEAD_LETTERS)


def by_reason_and_day(since: datetime) -> Query:
    """`day`: since 1970."""
    return query(
        f"""
SELECT DIV(UNIX_SECONDS(kafka_timestamp), {DAY_S}) AS day, reason, COUNT(*) AS letters
FROM {_LETTERS}
WHERE kafka_timestamp >= @since
GROUP BY day, reason
ORDER BY day, reason
""",
        since=since,
    )


def latest(since: datetime, reason: str, limit: int) -> Query:
    """The last letters of a reason, the newest first, nothing of what was in them. Those that were loaded in bulk lie
    on no topic, and aren't among them."""
    return query(
        f"""
SELECT reason, service, source_topic, source_partition, source_offset, received_at, kafka_timestamp, value_bytes,
  kafka_partition, kafka_offset
FROM {_LETTERS}
WHERE kafka_timestamp >= @since AND reason = @reason AND kafka_offset IS NOT NULL
ORDER BY kafka_timestamp DESC
LIMIT {limit:d}
""",
        since=since,
        reason=reason,
    )


def one(partition: int, offset: int, since: datetime) -> Query:
    """What is kept of one refused record: personal data."""
    return query(
        f"""
SELECT detail, key_base64, value_base64, value_sha256, value_bytes, headers
FROM {_LETTERS}
WHERE kafka_timestamp >= @since AND kafka_partition = @partition AND kafka_offset = @offset
LIMIT 1
""",
        since=since,
        partition=partition,
        offset=offset,
    )
