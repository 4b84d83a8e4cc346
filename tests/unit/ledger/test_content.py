"""What the books compare of a record and of its row is the same in both, and nothing else passes for it."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest

from services.ledger import content
from services.ledger.checks import TABLES
from services.sink.pipeline import Rules, rows_of
from shared.contracts.identity import EPOCH
from shared.contracts.transactions import Limits
from shared.warehouse.columns import ColumnType, Row, Table
from tests.unit.sink.records import PARTITIONS, LogRecord, one_of_each, record

RULES = Rules(PARTITIONS, Limits())
RECORDS = [record(topic, value) for topic, value in one_of_each(3, "cust_000001").items()]


def as_bigquery_gives_it(table: Table, row: Row) -> dict[str, Any]:
    """The sink's row as it comes back: every column is there, moments are datetimes."""
    moments = {column.name for column in table.columns if column.type is ColumnType.TIMESTAMP}
    back: dict[str, Any] = {column.name: row.get(column.name) for column in table.columns}
    return back | {name: EPOCH + timedelta(microseconds=back[name]) for name in moments if back[name] is not None}


@pytest.mark.parametrize("of_topic", RECORDS, ids=lambda each: each.topic)
def test_the_row_that_the_sink_makes_of_a_record_says_what_the_record_says(of_topic: LogRecord) -> None:
    rows = {table.id: as_bigquery_gives_it(table, row) for table, row in rows_of(of_topic, RULES)}
    expected = content.of_record(of_topic.topic, json.loads(of_topic.value or b""))
    assert {table: content.of_row(table, row) for table, row in rows.items()} == expected
    assert set(expected) == set(TABLES[of_topic.topic])


@pytest.mark.parametrize("of_topic", RECORDS, ids=lambda each: each.topic)
def test_a_row_with_any_other_value_says_something_else(of_topic: LogRecord) -> None:
    expected = content.of_record(of_topic.topic, json.loads(of_topic.value or b""))
    for table, row in rows_of(of_topic, RULES):
        back = as_bigquery_gives_it(table, row)
        for column in content.columns_of(table.id):
            other = {**back, column: _other(back[column])}
            assert content.of_row(table.id, other) != expected[table.id], column


def _other(value: Any) -> Any:
    kinds: list[tuple[type, Callable[[Any], Any]]] = [
        (bool, lambda it: not it),
        (int, lambda it: it + 1),
        (float, lambda it: it * 1.0000001),
        (Decimal, lambda it: it + Decimal("0.01")),
        (str, lambda it: it + "x"),
        (type(EPOCH), lambda it: it + timedelta(microseconds=1)),
        (type(None), lambda it: 7),
    ]
    return next(change(value) for kind, change in kinds if isinstance(value, kind))


@pytest.mark.parametrize(
    ("written", "stored"),
    [("10", "10.000000000"), ("10.1", "10.100000000"), ("67.5100000004", "67.51"), ("-0.0", "0"), ("1e2", "100.00")],
)
def test_an_amount_says_the_same_however_it_was_written(written: str, stored: str) -> None:
    body = {"occurred_at": "2026-06-01T00:00:00z", "amount": json.loads(written), "currency": "EUR"}
    row = {"occurred_at": EPOCH.replace(year=2026, month=6), "amount": Decimal(stored), "currency": "EUR"}
    table = "flit_bnpl_raw.transactions"
    assert content.of_row(table, row) == content.of_record("bnpl-transactions", body)[table]
