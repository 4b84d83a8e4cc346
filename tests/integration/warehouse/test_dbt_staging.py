"""The downstream dbt project's staging logic on our tables, with recorded events: unchanged, a row for each purchase.

Its staging model flattens every field that it finds in `json_body`, and makes a unique id of transaction, customer and
time.
"""

from __future__ import annotations

from typing import Any

import pytest

from services.ingestor.pipeline import Accepted, read_line
from services.ingestor.simtom import DAYS_LABEL, DEFAULT_LABEL
from shared.contracts.identity import partition_of
from shared.settings import BigQuerySettings
from tests.integration.warehouse.rows import query, write
from tests.unit.ingestor import recorded
from tests.unit.sink.records import PARTITIONS, LogRecord

LABELS = {DEFAULT_LABEL, DAYS_LABEL}
NOT_KEPT = {"_record_id", "_generator"}
"""The source's own book-keeping."""
EVERY = 16

STAGING = """
WITH flattened AS (
  SELECT
    TO_HEX(MD5(CONCAT(
      JSON_VALUE(json_body, '$.transaction_id'), JSON_VALUE(json_body, '$.customer_id'),
      JSON_VALUE(json_body, '$._timestamp')))) AS id,
    _ingestion_timestamp, {fields}
  FROM `{{project}}.flit_bnpl_raw.{table}`
  WHERE _timestamp >= TIMESTAMP '2026-01-01'
)
SELECT * FROM flattened ORDER BY id
"""


def staged(warehouse: BigQuerySettings, table: str, fields: list[str]) -> list[dict[str, Any]]:
    named = ", ".join(f"JSON_VALUE(json_body, '$.{name}') AS {name}" for name in fields)
    return query(warehouse, STAGING.format(fields=named, table=table))


@pytest.fixture(scope="module")
def events(warehouse: BigQuerySettings) -> list[dict[str, Any]]:
    """As simtom sent them; in the warehouse when this returns."""
    records = []
    for offset, line in enumerate(recorded.lines("history-4-days")[::EVERY]):
        accepted = read_line(line, recorded.reading())
        assert isinstance(accepted, Accepted)
        for made in accepted.records:
            key = made.key or b""
            partition = partition_of(key, PARTITIONS)
            at_ms, headers = recorded.RECORDED_US // 1000, [(name, value or b"") for name, value in made.headers]
            records.append(LogRecord(made.topic, partition, offset, at_ms, key, made.value, headers))
    write(warehouse, records)
    return recorded.flat_events("history-4-days")[::EVERY]


def test_every_field_of_the_source_is_found_where_staging_looks(
    warehouse: BigQuerySettings, events: list[dict[str, Any]]
) -> None:
    fields = sorted({name for event in events for name in event} - LABELS - NOT_KEPT)
    assert len(fields) >= 41
    rows = staged(warehouse, "raw_bnpl_txs_json", fields)
    assert len({row["id"] for row in rows}) == len(rows) == len(events)
    by_transaction = {row["transaction_id"]: row for row in rows}
    for event in events:
        row = by_transaction[event["transaction_id"]]
        for name in fields:
            if name in ("customer_id", "customer_tenure_days"):
                continue  # the one gets its scope, the other is counted from the event's day: see ADR 0002
            value = event.get(name)
            if value is None:
                assert row[name] is None, name
            elif isinstance(value, bool):
                assert row[name] == str(value).lower(), name
            elif isinstance(value, int | float):
                assert float(row[name]) == pytest.approx(value), name
            else:
                assert row[name] == value, name


def test_no_label_is_among_them(warehouse: BigQuerySettings, events: list[dict[str, Any]]) -> None:
    for row in staged(warehouse, "raw_bnpl_txs_json", sorted(LABELS)):
        assert all(row[name] is None for name in LABELS)


def test_models_that_want_labels_read_them_from_the_view(
    warehouse: BigQuerySettings, events: list[dict[str, Any]]
) -> None:
    rows = staged(warehouse, "raw_bnpl_txs_with_outcomes", ["transaction_id", "amount", *sorted(LABELS)])
    assert len({row["id"] for row in rows}) == len(rows) == len(events)
    by_transaction = {row["transaction_id"]: row for row in rows}
    for event in events:
        row = by_transaction[event["transaction_id"]]
        assert row[DEFAULT_LABEL] == str(event[DEFAULT_LABEL]).lower()
        days = event[DAYS_LABEL]
        assert row[DAYS_LABEL] == (None if days is None else str(days))
    assert any(event[DEFAULT_LABEL] for event in events)
