"""Decisions as the warehouse keeps them, each with the purchase that it was made on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from google.cloud import bigquery

from services.trainer.warehouse import QUERY_TIMEOUT_S, Warehouse, as_unavailable
from shared.contracts.events import Transaction
from shared.warehouse import tables
from shared.warehouse.accepted import accepted_transaction
from shared.warehouse.clients import CALL_TIMEOUT_S, RETRY

PAGE_ROWS = 2_000
"""Of a decision and its purchase: some megabytes."""

_FIRST = (
    "QUALIFY ROW_NUMBER() OVER (PARTITION BY {of} ORDER BY kafka_partition NULLS LAST, kafka_offset NULLS LAST) = 1"
)
_OF_EVENT, _OF_CUSTOMER = _FIRST.format(of="event_id"), _FIRST.format(of="event_id, customer_id")

# Two queries: without the days of both tables, one decision would cost the reading of all of them.
_DAYS = f"""
SELECT
  MIN(prediction_timestamp) AS decided_from, MAX(prediction_timestamp) AS decided_to,
  MIN(occurred_at) AS occurred_from, MAX(occurred_at) AS occurred_to
FROM `{{project}}.{tables.DECISIONS.id}`
WHERE kafka_offset IS NOT NULL AND {{which}}
"""

_STORED = f"""
SELECT
  t.*, d.event_id AS decided_event, d.kafka_partition AS decided_partition, d.kafka_offset AS decided_offset,
  d.kafka_timestamp AS decided_timestamp, d.prediction_timestamp AS decided_at, d.occurred_at AS decided_occurred_at,
  d.record_json, d.record_sha256, d.customer_id IS NULL AS erased
FROM (
  SELECT
    event_id, customer_id, kafka_partition, kafka_offset, kafka_timestamp, prediction_timestamp, occurred_at,
    record_json, record_sha256
  FROM `{{project}}.{tables.DECISIONS.id}`
  WHERE prediction_timestamp BETWEEN @decided_from AND @decided_to AND kafka_offset IS NOT NULL AND {{which}}
  {_OF_EVENT}
  {{some}}
) AS d
LEFT JOIN (
  SELECT * FROM `{{project}}.{tables.TRANSACTIONS.id}`
  WHERE occurred_at BETWEEN @occurred_from AND @occurred_to AND misplaced IS NOT TRUE
  {_OF_CUSTOMER}
) AS t ON t.event_id = d.event_id AND t.customer_id = d.customer_id
"""
"""In no order: BigQuery sorts on one worker, which the records of a few million decisions don't fit into."""


@dataclass(frozen=True, slots=True)
class StoredDecision:
    event_id: str
    partition: int
    offset: int
    record: bytes | None
    """The value of the record on risk-decisions; None: erased, or older than the column."""
    record_sha256: str | None
    erased: bool
    purchase: Transaction | None
    """As the decision was made on it: accepted, and under pseudonyms where there are any."""
    event_age_ms: float
    """From the purchase to the decision, by their own times."""
    latency_ms: float | None
    """From the purchase's record to the decision's, by Kafka's times."""


class StoredDecisions:
    """Every method may raise WarehouseUnavailable."""

    def __init__(self, warehouse: Warehouse) -> None:
        self._client, self._project = warehouse.client, warehouse.project

    def of_event(self, event_id: str, since_us: int | None, until_us: int | None) -> StoredDecision | None:
        """The event's decision in [since, until): the first on the topic."""
        which, values = _decided_in(since_us, until_us)
        event = bigquery.ScalarQueryParameter("event", "STRING", event_id)
        return next(self._read(f"{which} AND event_id = @event", [*values, event]), None)

    def between(self, since_us: int | None, until_us: int | None, limit: int | None) -> Iterator[StoredDecision]:
        """One decision of each event decided in [since, until), in no order. `limit`: no more
        than so many, drawn by a hash of the event."""
        which, values = _decided_in(since_us, until_us)
        some = "" if limit is None else f"ORDER BY TO_HEX(MD5(event_id)) LIMIT {limit:d}"
        return self._read(which, values, some)

    def _read(
        self, which: str, values: list[bigquery.ScalarQueryParameter], some: str = ""
    ) -> Iterator[StoredDecision]:
        days = next(self._rows(_DAYS.format(project=self._project, which=which), values))
        if days["decided_from"] is None:
            return
        span = [bigquery.ScalarQueryParameter(name, "TIMESTAMP", days[name]) for name in days.keys()]  # noqa: SIM118
        for row in self._rows(_STORED.format(project=self._project, which=which, some=some), [*values, *span]):
            yield stored_decision(row)

    def _rows(self, sql: str, values: list[bigquery.ScalarQueryParameter]) -> Iterator[Any]:
        with as_unavailable(self._project):
            config = bigquery.QueryJobConfig(query_parameters=values)
            job = self._client.query(sql, job_config=config, retry=RETRY, timeout=CALL_TIMEOUT_S)
            yield from job.result(page_size=PAGE_ROWS, timeout=QUERY_TIMEOUT_S)


def _decided_in(since_us: int | None, until_us: int | None) -> tuple[str, list[bigquery.ScalarQueryParameter]]:
    """A condition that days beyond it aren't read for, with its values."""
    which, values = ["TRUE"], []
    for name, comparison, moment in (("since", ">=", since_us), ("until", "<", until_us)):
        if moment is not None:
            which.append(f"prediction_timestamp {comparison} TIMESTAMP_MICROS(@{name})")
            values.append(bigquery.ScalarQueryParameter(name, "INT64", moment))
    return " AND ".join(which), values


def stored_decision(row: Mapping[str, Any]) -> StoredDecision:
    """A row of the query: the purchase's columns under their own names, NULL where there is none."""
    known = row["event_id"] is not None and row["customer_id"] is not None
    return StoredDecision(
        event_id=row["decided_event"],
        partition=row["decided_partition"],
        offset=row["decided_offset"],
        record=None if row["record_json"] is None else row["record_json"].encode(),
        record_sha256=row["record_sha256"],
        erased=row["erased"],
        # Not through the door's decoder: what was accepted then isn't judged by the rules of today.
        purchase=accepted_transaction(row).transaction if known else None,
        event_age_ms=_milliseconds(row["decided_occurred_at"], row["decided_at"]),
        latency_ms=_milliseconds(row["kafka_timestamp"], row["decided_timestamp"]) if known else None,
    )


def _milliseconds(since: datetime, until: datetime) -> float:
    return (until - since).total_seconds() * 1000
