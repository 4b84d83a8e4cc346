"""Records in, rows out."""

from __future__ import annotations

import hashlib
import json
from decimal import Decimal

import pytest

from services.sink.append import freeze
from services.sink.pipeline import LAST_KAFKA_MS, Rules, build, rows_of
from shared.contracts import topics
from shared.contracts.events import encode
from shared.contracts.identity import epoch_micros, partition_of
from shared.contracts.pseudonyms import Kind, Pseudonyms
from shared.contracts.rejections import Rejection, RejectionReason
from shared.contracts.transactions import Limits
from shared.warehouse import tables
from shared.warehouse.columns import Row, Table
from tests.factories import DAY_US, START_US, outcome, transaction_bytes
from tests.unit.sink.records import (
    COMPUTED_AT,
    DECIDED_AT,
    LATER_MS,
    PARTITIONS,
    decision,
    letter_bytes,
    one_of_each,
    record,
    update_bytes,
    vector_bytes,
)

RULES = Rules(PARTITIONS, Limits())
RENAMING = Rules(PARTITIONS, Limits(), Pseudonyms(b"k" * 32))
OUTCOME = json.dumps(outcome(0, observed_us=START_US + 56 * DAY_US)).encode()


def only(rows: list[tuple[Table, Row]], table: Table) -> Row:
    return next(row for found, row in rows if found is table)


def test_a_transaction_has_a_typed_row_and_a_flat_one() -> None:
    rows = rows_of(record(topics.TRANSACTIONS, transaction_bytes(), offset=7), RULES)
    raw, typed = only(rows, tables.RAW_TRANSACTIONS), only(rows, tables.TRANSACTIONS)
    assert len(rows) == 2
    assert raw["_timestamp"] == typed["occurred_at"] == START_US
    assert raw["_ingestion_timestamp"] == typed["kafka_timestamp"] == LATER_MS * 1000
    assert raw["event_id"] == typed["event_id"] == "event-0"
    body = json.loads(raw["json_body"])
    assert body["customer_age_bracket"] == typed["customer_age_bracket"] == "55+"
    assert body["installment_count"] == typed["installments_count"] == 4
    assert typed["amount"] == Decimal("67.51")
    assert typed["misplaced"] is False
    for row in (raw, typed):
        assert (row["kafka_topic"], row["kafka_offset"]) == ("bnpl-transactions", 7)


def test_blocks_that_are_absent_leave_their_columns_empty() -> None:
    bare = {
        "transaction_id": "t",
        "customer_id": "c",
        "occurred_at": "2026-06-01T00:00:00Z",
        "amount": 5,
        "currency": "JPY",
    }
    rows = rows_of(record(topics.TRANSACTIONS, json.dumps(bare).encode(), key="c"), RULES)
    typed = only(rows, tables.TRANSACTIONS)
    assert typed["amount"] == Decimal(5)
    assert not [name for name in typed if name.startswith(("customer_", "device_")) and name != "customer_id"]


def test_an_outcome_keeps_when_it_may_be_known() -> None:
    row = only(rows_of(record(topics.OUTCOMES, OUTCOME), RULES), tables.OUTCOMES)
    assert row["observed_at"] == START_US + 56 * DAY_US
    assert row["defaulted"] is False
    assert row["days_to_first_missed_payment"] is None


def test_a_vector_keeps_what_it_was_computed_from() -> None:
    row = only(rows_of(record(topics.FEATURES, vector_bytes(3)), RULES), tables.FEATURES)
    assert (row["as_of_transactions"], row["as_of_outcomes"]) == (2, -1)
    assert row["computed_at"] == epoch_micros(COMPUTED_AT)
    assert json.loads(row["features"])["amount"] == 67.51


def test_a_decision_keeps_everything_that_was_decided_on() -> None:
    made = decision(3)
    row = only(rows_of(record(topics.DECISIONS, encode(made)), RULES), tables.DECISIONS)
    assert row["prediction_timestamp"] == epoch_micros(DECIDED_AT)
    assert json.loads(row["features"]) == made.features
    assert json.loads(row["reasons"]) == [{"code": "fair_credit", "text": "Credit score is only fair"}]
    assert json.loads(row["shadow"])[0]["decision"] == "approve"
    assert row["degraded"] is None


def test_a_dead_letter_keeps_the_original_bytes_however_long() -> None:
    row = only(rows_of(record(topics.DEAD_LETTERS, letter_bytes(9, b"x" * 70_000)), RULES), tables.DEAD_LETTERS)
    assert (row["source_topic"], row["source_partition"], row["source_offset"]) == ("bnpl-transactions", 1, 9)
    assert row["value_bytes"] == 70_000
    assert len(row["value_base64"]) > 80_000


@pytest.mark.parametrize("topic", topics.ALL, ids=lambda topic: topic.name)
def test_every_row_becomes_arrow_and_its_table_takes_it(topic: topics.Topic) -> None:
    value = one_of_each(0, "cust_000001")[topic]
    built = build(topic.name, [record(topic, value, offset=offset) for offset in range(3)], RULES, frozenset())
    assert built.written == 3
    assert set(built.rows) == set(tables.tables_of(topic.name)) != set()
    for table, rows in built.rows.items():
        (frozen,) = freeze(table, rows)
        assert (frozen.rows, frozen.last_offset) == (3, 2)


@pytest.mark.parametrize(
    ("topic", "value", "reason"),
    [
        (topics.TRANSACTIONS, b"{", "syntax"),
        (topics.TRANSACTIONS, None, "tombstone"),
        (topics.TRANSACTIONS, transaction_bytes(amount=-1), "range"),
        (topics.TRANSACTIONS, transaction_bytes(customer_id="another"), "key"),
        (topics.OUTCOMES, OUTCOME.replace(b"cust_000001", b"cust_000002"), "key"),
        (topics.OUTCOMES, b"{}", "missing"),
        (topics.FEATURES, vector_bytes().replace(b'"feature_hash":"', b'"feature_hash":"0'), "shape"),
        (topics.FEATURES, vector_bytes().replace(b'"event_id":"event-0"', b'"event_id":"other"', 1), "shape"),
        (topics.FEATURES, vector_bytes(customer_id="another"), "key"),
        (topics.DECISIONS, b"[]", "shape"),
        (topics.DECISIONS, encode(decision(decided_at="soon")), "date"),
        (topics.DECISION_UPDATES, b"{}", "missing"),
        (topics.DEAD_LETTERS, b"{}", "shape"),
        (topics.DEAD_LETTERS, None, "size"),
        (topics.DEAD_LETTERS, letter_bytes(2**70), "range"),
    ],
)  # fmt: skip
def test_what_the_decoders_refuse_has_no_row_and_its_neighbours_have(
    topic: topics.Topic, value: bytes | None, reason: str
) -> None:
    good = one_of_each(0, "cust_000001")[topic]
    values = [good, value, good]
    built = build(topic.name, [record(topic, value, offset=i) for i, value in enumerate(values)], RULES, frozenset())
    assert built.refused == {reason: 1}
    assert built.written == 2
    for rows in built.rows.values():
        assert [row["kafka_offset"] for row in rows] == [0, 2]


def test_a_record_without_a_key_has_no_row() -> None:
    with pytest.raises(Rejection) as refused:
        rows_of(record(topics.TRANSACTIONS, transaction_bytes(), key=None), RULES)
    assert refused.value.reason is RejectionReason.KEY


def test_an_offset_that_the_features_service_refused_has_no_row() -> None:
    records = [record(topics.TRANSACTIONS, transaction_bytes(i), offset=i) for i in range(3)]
    built = build(topics.TRANSACTIONS.name, records, RULES, frozenset({1}))
    assert built.refused == {"conflict": 1}
    assert [row["event_id"] for row in built.rows[tables.TRANSACTIONS]] == ["event-0", "event-2"]


def test_a_record_in_a_wrong_partition_is_marked_and_not_asked_whose_it_is() -> None:
    home = partition_of(b"cust_000001", PARTITIONS)
    value = transaction_bytes(customer_id="another")
    rows = rows_of(record(topics.TRANSACTIONS, value, partition=(home + 1) % PARTITIONS), RULES)
    assert only(rows, tables.TRANSACTIONS)["misplaced"] is True


def test_an_unknown_schema_version_has_no_row() -> None:
    for topic, value in ((topics.TRANSACTIONS, transaction_bytes()), (topics.OUTCOMES, OUTCOME)):
        with pytest.raises(Rejection, match="version"):
            rows_of(record(topic, value, headers=[("schema_version", b"99")]), RULES)


@pytest.mark.parametrize(("stamp", "kept"), [(-1, 0), (2**62, LAST_KAFKA_MS)])
def test_a_record_timestamp_beyond_all_calendars_is_brought_back_into_them(stamp: int, kept: int) -> None:
    row = only(rows_of(record(topics.DEAD_LETTERS, letter_bytes(), timestamp=stamp), RULES), tables.DEAD_LETTERS)
    assert row["kafka_timestamp"] == kept * 1000


def test_a_time_that_nobody_decides_on_may_be_unreadable() -> None:
    value = update_bytes().replace(DECIDED_AT.encode(), b"yesterday")
    row = only(rows_of(record(topics.DECISION_UPDATES, value), RULES), tables.DECISION_UPDATES)
    assert row["updated_at"] is None


def test_rows_of_records_from_before_there_were_pseudonyms_have_them_too() -> None:
    psn = RENAMING.pseudonyms.of(Kind.CUSTOMER, "cust_000001")
    for topic, value in (
        (topics.OUTCOMES, OUTCOME), (topics.FEATURES, vector_bytes()), (topics.DECISIONS, encode(decision())),
        (topics.DECISION_UPDATES, update_bytes()), (topics.TRANSACTIONS, transaction_bytes()),
    ):  # fmt: skip
        for _, row in rows_of(record(topic, value), RENAMING):
            assert row.get("customer_id", psn) == psn
            assert "cust_000001" not in repr(row)


def test_a_pseudonym_in_a_decision_is_not_given_another() -> None:
    psn = RENAMING.pseudonyms.of(Kind.CUSTOMER, "cust_000001")
    value = encode(decision(customer_id=psn))
    row = only(rows_of(record(topics.DECISIONS, value, key=psn), RENAMING), tables.DECISIONS)
    assert row["customer_id"] == psn


def test_a_decisions_row_holds_the_records_own_bytes_and_their_hash() -> None:
    value = b' {"extra": 1,' + encode(decision(5)).removeprefix(b"{")  # no byte of it is ours to tidy up
    row = only(rows_of(record(topics.DECISIONS, value), RULES), tables.DECISIONS)
    assert row["record_json"].encode() == value
    assert row["record_sha256"] == hashlib.sha256(value).hexdigest()


def test_a_decision_that_names_its_customer_is_not_kept_whole_where_there_are_pseudonyms() -> None:
    value = encode(decision())
    row = only(rows_of(record(topics.DECISIONS, value), RENAMING), tables.DECISIONS)
    assert row["record_json"] is None
    assert row["record_sha256"] == hashlib.sha256(value).hexdigest()
    renamed = encode(decision(customer_id=str(row["customer_id"])))
    kept = only(rows_of(record(topics.DECISIONS, renamed), RENAMING), tables.DECISIONS)
    assert kept["record_json"] == renamed.decode()


def test_with_pseudonyms_a_misplaced_record_is_still_told_by_the_customers_own_id() -> None:
    home = record(topics.TRANSACTIONS, transaction_bytes())
    away = record(topics.TRANSACTIONS, transaction_bytes(), partition=(home.partition + 1) % PARTITIONS)
    misplaced = [only(rows_of(one, RENAMING), tables.TRANSACTIONS)["misplaced"] for one in (home, away)]
    assert misplaced == [False, True]


def test_nothing_but_our_limits_refuses_what_other_limits_would_let_in_where_it_lies() -> None:
    low = Rules(PARTITIONS, Limits(max_amount=1.0))
    large = record(topics.TRANSACTIONS, transaction_bytes(0), offset=0)
    elsewhere = record(
        topics.TRANSACTIONS, transaction_bytes(1), offset=1, partition=(large.partition + 1) % PARTITIONS
    )
    of_another = record(topics.TRANSACTIONS, transaction_bytes(2, customer_id="cust_other"), offset=2)
    without_end = record(topics.TRANSACTIONS, transaction_bytes(3, amount=1e30), offset=3)
    noted = record(topics.TRANSACTIONS, transaction_bytes(4), offset=4)
    all_of_them = [large, elsewhere, of_another, without_end, noted]
    built = build(topics.TRANSACTIONS.name, all_of_them, low, frozenset({4}))
    assert (built.written, sum(built.refused.values()), built.by_our_limits) == (0, 5, [0])
    again = build(topics.TRANSACTIONS.name, all_of_them, low, frozenset({4}), frozenset({0}))
    assert [row["kafka_offset"] for row in again.rows[tables.TRANSACTIONS]] == [0]
