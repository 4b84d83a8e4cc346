"""What the books compare of a record and of its row is the same in both, and nothing else passes for it."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any

import pytest

from services.ledger import content
from services.ledger.checks import TABLES
from services.sink.pipeline import Rules, rows_of
from shared.contracts.identity import epoch_micros
from shared.contracts.transactions import Limits
from tests.unit.sink.records import PARTITIONS, LogRecord, one_of_each, record

RULES = Rules(PARTITIONS, Limits())
RECORDS = [record(topic, value) for topic, value in one_of_each(3, "cust_000001").items()]


def says(table: str, row: Mapping[str, Any]) -> bytes:
    return content.of_row(table, [row.get(column) for column in content.columns_of(table)])


@pytest.mark.parametrize("of_topic", RECORDS, ids=lambda each: each.topic)
def test_the_row_that_the_sink_makes_of_a_record_says_what_the_record_says(of_topic: LogRecord) -> None:
    expected = content.of_record(of_topic.topic, json.loads(of_topic.value or b""))
    assert {table.id: says(table.id, row) for table, row in rows_of(of_topic, RULES)} == expected
    assert set(expected) == set(TABLES[of_topic.topic])


@pytest.mark.parametrize("of_topic", RECORDS, ids=lambda each: each.topic)
def test_a_row_with_any_other_value_says_something_else(of_topic: LogRecord) -> None:
    expected = content.of_record(of_topic.topic, json.loads(of_topic.value or b""))
    for table, row in rows_of(of_topic, RULES):
        for column in content.columns_of(table.id):
            other = {**row, column: _other(row.get(column))}
            assert says(table.id, other) != expected[table.id], column


def _other(value: Any) -> Any:
    kinds: list[tuple[type, Callable[[Any], Any]]] = [
        (bool, lambda it: not it),
        (int, lambda it: it + 1),
        (float, lambda it: it * 1.0000001),
        (Decimal, lambda it: it + Decimal("0.01")),
        (str, lambda it: it + "x"),
        (type(None), lambda it: 7),
    ]
    return next(change(value) for kind, change in kinds if isinstance(value, kind))


@pytest.mark.parametrize(
    ("written", "stored"),
    [("10", "10.000000000"), ("10.1", "10.100000000"), ("67.5100000004", "67.51"), ("-0.0", "0"), ("1e2", "100.00")],
)
def test_an_amount_says_the_same_however_it_was_written(written: str, stored: str) -> None:
    body = {"occurred_at": "2026-06-01T00:00:00z", "amount": json.loads(written), "currency": "EUR"}
    row = {"occurred_at": epoch_micros("2026-06-01T00:00:00Z"), "amount": Decimal(stored), "currency": "EUR"}
    table = "flit_bnpl_raw.transactions"
    assert says(table, row) == content.of_record("bnpl-transactions", body)[table]
