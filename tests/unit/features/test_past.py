"""A row of the warehouse leads to the very state that its record led to."""

from __future__ import annotations

import random
from datetime import timedelta
from typing import Any

import msgspec
import pytest

from services.features.past import gaps, past_record, runs_without
from services.features.pipeline import LogRecord, decode
from services.sink.pipeline import Rules, rows_of
from shared.contracts import topics
from shared.contracts.identity import EPOCH
from shared.contracts.pseudonyms import OFF, Pseudonyms
from shared.contracts.records import AcceptedOutcome
from shared.contracts.transactions import AcceptedTransaction, Limits
from shared.feature_definitions import CustomerState
from shared.warehouse import tables
from shared.warehouse.columns import ColumnType, Table
from tests.factories import DAY_US, START_US, outcome, transaction
from tests.unit.sink.records import PARTITIONS, record

NAMED = Pseudonyms(b"k" * 32)
TYPED = {topics.TRANSACTIONS.name: tables.TRANSACTIONS, topics.OUTCOMES.name: tables.OUTCOMES}


def row_of(logged: Any, pseudonyms: Pseudonyms) -> dict[str, Any]:
    """The row that the sink writes, as the warehouse gives it back."""
    rows = dict(rows_of(logged, Rules(PARTITIONS, Limits(), pseudonyms)))
    return as_read(TYPED[logged.topic], rows[TYPED[logged.topic]])


def as_read(table: Table, row: dict[str, Any]) -> dict[str, Any]:
    read = {column.name: row.get(column.name) for column in table.columns}
    for column in table.columns:
        micros = read[column.name]
        if column.type is ColumnType.TIMESTAMP and micros is not None:
            read[column.name] = EPOCH + timedelta(microseconds=micros)
    return read


def decoded(logged: Any, pseudonyms: Pseudonyms) -> Any:
    seen = LogRecord(logged.topic, logged.partition, logged.offset, logged.timestamp, logged.key, logged.value, [])
    return decode(seen, partitions=PARTITIONS, limits=Limits(), pseudonyms=pseudonyms)


def state_of(taken: list[AcceptedTransaction | AcceptedOutcome]) -> bytes:
    state = CustomerState()
    for item in taken:
        if isinstance(item, AcceptedTransaction):
            state.add_purchase(item)
        else:
            state.add_outcome(item.outcome, item.observed_us)
    return state.encode()


def odd_bodies(count: int) -> list[dict[str, Any]]:
    """Purchases with blocks that are whole, in part, empty, null or absent, in currencies of every precision."""
    draw = random.Random(5)
    bodies = []
    for number in range(count):
        currency, amount = draw.choice([("USD", 67.51), ("JPY", 6751), ("KWD", 67.515), ("EUR", 0), ("USD", 12)])
        body = transaction(
            number, t_us=START_US + draw.randrange(90 * DAY_US), amount=amount, currency=currency, extra="kept as it is"
        )
        for block in ("installments", "customer", "product", "device", "payment", "checkout", "source_scores"):
            match draw.randrange(6):
                case 0:
                    del body[block]
                case 1:
                    body[block] = {}
                case 2:
                    body[block] = None
                case 3:
                    body[block] = dict.fromkeys(body[block])
                case 4:
                    body[block] = dict(draw.sample(sorted(body[block].items()), 2))
        if draw.random() < 0.2 and body.get("product"):
            body["product"] |= {"category": "a new one", "brand": "naïve 🛍 \u0001 '; DROP", "price": -0.0}
        if draw.random() < 0.2:
            del body["event_id"]
        bodies.append(body)
    return bodies


@pytest.mark.parametrize("pseudonyms", [OFF, NAMED], ids=["plain", "pseudonyms"])
def test_purchases_and_outcomes_from_rows_leave_the_bytes_that_their_records_leave(pseudonyms: Pseudonyms) -> None:
    logged: list[Any] = []
    for number, body in enumerate(odd_bodies(300)):
        logged.append(record(topics.TRANSACTIONS, msgspec.json.encode(body), offset=number))
        told = outcome(number // 2, defaulted=number % 3 == 0, observed_us=START_US + number * DAY_US // 7)
        logged.append(record(topics.OUTCOMES, msgspec.json.encode(told), offset=number))
    from_log = [decoded(one, pseudonyms) for one in logged]
    from_rows = [past_record(one.topic, row_of(one, pseudonyms), pseudonyms).accepted for one in logged]
    for expected, found in zip(from_log, from_rows, strict=True):
        if isinstance(expected, AcceptedTransaction):
            assert isinstance(found, AcceptedTransaction)
            assert found.fingerprint == expected.fingerprint
            assert (found.amount_minor, found.occurred_us) == (expected.amount_minor, expected.occurred_us)
        else:
            assert isinstance(found, AcceptedOutcome)
            assert (found.outcome, found.observed_us) == (expected.outcome, expected.observed_us)
    assert state_of([one for one in from_rows if one]) == state_of(from_log)


def test_a_row_older_than_the_fingerprint_column_gives_it_all_the_same() -> None:
    logged = record(topics.TRANSACTIONS, msgspec.json.encode(transaction(1, payment=None)))
    row = row_of(logged, OFF) | {"fingerprint": None}
    found, expected = past_record(logged.topic, row, OFF).accepted, decoded(logged, OFF)
    assert isinstance(found, AcceptedTransaction)
    assert found.transaction == expected.transaction
    assert found.fingerprint == expected.fingerprint


def test_a_row_from_before_there_were_pseudonyms_is_given_them() -> None:
    for topic, body in (
        (topics.TRANSACTIONS, transaction(1)),
        (topics.OUTCOMES, outcome(1, observed_us=START_US)),
    ):
        logged = record(topic, msgspec.json.encode(body))
        found, expected = past_record(topic.name, row_of(logged, OFF), NAMED).accepted, decoded(logged, NAMED)
        if isinstance(found, AcceptedTransaction):
            assert (found.transaction, found.fingerprint) == (expected.transaction, expected.fingerprint)
        else:
            assert found is not None
            assert found.outcome == expected.outcome


def test_nothing_is_made_of_an_erased_customer_or_of_a_record_in_the_wrong_partition() -> None:
    logged = record(topics.TRANSACTIONS, msgspec.json.encode(transaction(1)), offset=7)
    emptied = {column.name: None for column in tables.TRANSACTIONS.personal}
    for row in (row_of(logged, OFF) | emptied, row_of(logged, OFF) | {"misplaced": True}):
        found = past_record(logged.topic, row, OFF)
        assert (found.offset, found.accepted) == (7, None)


def runs(low: int, high: int, *accounted: int) -> list[range]:
    return list(runs_without(low, high, accounted))


def test_offsets_that_nobody_accounts_for_are_told_in_runs() -> None:
    assert runs(0, 5, 0, 1, 2, 3, 4) == []
    assert runs(0, 8, 1, 4, 5, 99) == [range(1), range(2, 4), range(6, 8)]
    assert runs(3, 6) == [range(3, 6)]


def test_what_the_sink_has_not_settled_is_a_gap_down_to_a_single_record() -> None:
    assert gaps(runs(0, 10, *range(9)), settled=9) == [range(9, 10)]
    assert gaps(runs(0, 10, *range(9)), settled=0) == [range(9, 10)]
    assert gaps(runs(0, 10, *range(9)), settled=10) == []


def test_marks_of_transactions_are_no_gap_and_longer_runs_are() -> None:
    assert gaps([range(1, 2), range(4, 6)], settled=10) == []
    assert gaps([range(1, 2), range(4, 7)], settled=10) == [range(4, 7)]


def test_a_gap_across_two_stretches_is_one() -> None:
    assert gaps([range(98, 100), range(100, 102)], settled=1000) == [range(98, 102)]
