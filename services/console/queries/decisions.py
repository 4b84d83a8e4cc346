"""Decisions, the purchases behind them, and what people said of them afterwards."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from services.console.queries.query import Query, at, query
from shared.warehouse import tables
from shared.warehouse.views import FIRST_OF_EVENT, FIRST_OF_PURCHASE, home, latest_outcomes

MOST_OF_A_CUSTOMER = 30
"""Purchases in a customer's history: more fill no screen."""

_DECISIONS, _UPDATES = at(tables.DECISIONS), at(tables.DECISION_UPDATES)
_LISTED = (
    "event_id, customer_id, occurred_at, prediction_timestamp, decision, probability_of_default, expected_loss, "
    "reasons, degraded, channel, model_version, policy_version, variant, kafka_timestamp, kafka_partition"
)


def mix(since: datetime, until: datetime, step_s: int) -> Query:
    """Decisions in [since, until), by verdict and bucket of `step_s` seconds since 1970. Each event counts once in its
    bucket: a repeated record has the same bytes, so the same time."""
    return query(
        f"""
SELECT
  DIV(UNIX_SECONDS(prediction_timestamp), {step_s:d}) AS bucket, decision AS verdict,
  COUNT(DISTINCT event_id) AS decisions, COUNT(DISTINCT IF(degraded IS NULL, NULL, event_id)) AS fallbacks
FROM {_DECISIONS}
WHERE prediction_timestamp >= @since AND prediction_timestamp < @until
GROUP BY bucket, verdict
ORDER BY bucket, verdict
""",
        since=since,
        until=until,
    )


def newest(since: datetime) -> Query:
    """`moment`: when the last decision was made; NULL where there is none since then."""
    return query(
        f"SELECT MAX(prediction_timestamp) AS moment FROM {_DECISIONS} WHERE prediction_timestamp >= @since",
        since=since,
    )


def policy_in_service(since: datetime) -> Query:
    """The policy of the last decision."""
    return query(
        f"""
SELECT policy_version
FROM {_DECISIONS}
WHERE prediction_timestamp >= @since
ORDER BY prediction_timestamp DESC
LIMIT 1
""",
        since=since,
    )


def latest(since: datetime, limit: int) -> Query:
    """The last decisions, the newest first."""
    return query(
        f"""
SELECT {_LISTED}
FROM {_DECISIONS}
WHERE prediction_timestamp >= @since
QUALIFY {FIRST_OF_EVENT}
ORDER BY prediction_timestamp DESC
LIMIT {limit:d}
""",
        since=since,
    )


def decided(event_id: str, since: datetime) -> Query:
    """`moment`: when an event was decided, NULL where it wasn't since then. Of all of a row it reads these two columns:
    whoever knows the day can ask for the rest."""
    return query(
        f"""
SELECT MIN(prediction_timestamp) AS moment FROM {_DECISIONS}
WHERE prediction_timestamp >= @since AND event_id = @event
""",
        event=event_id,
        since=since,
    )


def one(event_id: str, since: datetime, until: datetime) -> Query:
    """An event's decision, with all that is known of its record; no row where it wasn't decided in [since, until)."""
    return query(
        f"""
SELECT
  {_LISTED}, transaction_id, feature_set_version, features, feature_hash, shadow, as_of_transactions, as_of_outcomes,
  record_sha256, chain_sha256, kafka_topic, kafka_offset
FROM {_DECISIONS}
WHERE event_id = @event AND prediction_timestamp >= @since AND prediction_timestamp < @until
QUALIFY {FIRST_OF_EVENT}
""",
        event=event_id,
        since=since,
        until=until,
    )


def of_events(events: Sequence[str], since: datetime) -> Query:
    """The verdicts of these events, where they were decided since then; the partition tells of whose purchase."""
    return query(
        f"""
SELECT event_id, kafka_partition, decision, probability_of_default
FROM {_DECISIONS}
WHERE prediction_timestamp >= @since AND event_id IN UNNEST(@events)
QUALIFY {FIRST_OF_EVENT}
""",
        since=since,
        events=tuple(events),
    )


def purchases(events: Sequence[str], first: datetime, last: datetime) -> Query:
    """The purchases of these events, which occurred in [first, last]; of two customers' under one event id both."""
    return query(
        f"""
SELECT event_id, {home()} AS home, amount, currency, installments_count, product_category, kafka_timestamp
FROM {at(tables.TRANSACTIONS)}
WHERE occurred_at >= @first AND occurred_at <= @last AND event_id IN UNNEST(@events) AND misplaced IS NOT TRUE
QUALIFY {FIRST_OF_PURCHASE}
""",
        first=first,
        last=last,
        events=tuple(events),
    )


def purchases_of(customer_id: str, since: datetime) -> Query:
    """A customer's purchases, the latest first."""
    return query(
        f"""
SELECT event_id, {home()} AS home, occurred_at, amount, currency, installments_count
FROM {at(tables.TRANSACTIONS)}
WHERE occurred_at >= @since AND customer_id = @customer AND misplaced IS NOT TRUE
QUALIFY {FIRST_OF_EVENT}
ORDER BY occurred_at DESC
LIMIT {MOST_OF_A_CUSTOMER}
""",
        customer=customer_id,
        since=since,
    )


def outcomes_of(customer_id: str, since: datetime) -> Query:
    """What became of a customer's purchases, as far as it is known since then."""
    sql = latest_outcomes("observed_at >= @since AND customer_id = @customer")
    return query(sql, customer=customer_id, since=since)


def said_of(event_id: str, since: datetime) -> Query:
    """What people said of a decision, the latest first."""
    return query(
        f"""
SELECT update_id, kind, verdict, actor, note, updated_at
FROM {_UPDATES}
WHERE kafka_timestamp >= @since AND event_id = @event
ORDER BY kafka_timestamp DESC
LIMIT 20
""",
        event=event_id,
        since=since,
    )
