"""Ids and moments of a transaction: what is put into one form, and what is refused."""

from __future__ import annotations

import json
import unicodedata
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.contracts import identity
from shared.contracts.rejections import Rejection
from shared.contracts.transactions import (
    IDS,
    MAX_ID_LENGTH,
    REQUIRED,
    AcceptedTransaction,
    Door,
    Limits,
    check_id,
    decode_transaction,
)
from tests.factories import DAY_US, START_US, transaction

MINUTE_US = 60 * 1_000_000
LIMITS = Limits(max_future_seconds=60)


def decode(body: dict[str, Any], door: Door = Door.TOPIC) -> AcceptedTransaction:
    return decode_transaction(json.dumps(body).encode(), door=door, received_us=START_US, limits=LIMITS)


def refused(body: dict[str, Any]) -> tuple[str, str, int]:
    with pytest.raises(Rejection) as caught:
        decode(body)
    return caught.value.reason.value, caught.value.field, caught.value.status


def with_id(path: tuple[str, ...], value: Any) -> dict[str, Any]:
    return transaction(0, **({path[0]: value} if len(path) == 1 else {path[0]: {path[1]: value}}))


@pytest.mark.parametrize("name", REQUIRED)
@pytest.mark.parametrize("value", [..., None, "", "  ", "\t\n"], ids=["absent", "null", "empty", "blank", "white"])
def test_a_required_field_may_not_be_missing(name: str, value: Any) -> None:
    body = transaction(0)
    del body[name]
    assert refused(body if value is ... else body | {name: value}) == ("missing", name, 422)


@pytest.mark.parametrize("path", IDS, ids=".".join)
@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("x" * (MAX_ID_LENGTH + 1), "length"), ("é" * (MAX_ID_LENGTH + 1), "length"), ("a\x00", "control"),
        ("a\x7f", "control"), ("é\x85", "control"), ("a\x1fb", "control"), ("e\u0301", "unicode"),
        ("a\u200d", "unicode"), ("a\u00adb", "unicode"), ("\u202ea", "unicode"), ("\u2066a", "unicode"),
        ("a\ufeff", "unicode"), ("a\u2028", "unicode"), ("a\U000e0041", "unicode"), (7, "type"), (True, "type"),
        (["a"], "type"),
    ],
)  # fmt: skip
def test_every_id_keeps_the_same_rules(path: tuple[str, ...], value: Any, reason: str) -> None:
    assert refused(with_id(path, value)) == (reason, ".".join(path), 422)


@pytest.mark.parametrize("path", IDS, ids=".".join)
@pytest.mark.parametrize("value", ["x" * MAX_ID_LENGTH, "Zoë", "客户-1", "a b", "🛒"])
def test_ids_in_any_script_are_accepted_as_they_are(path: tuple[str, ...], value: str) -> None:
    found: Any = decode(with_id(path, value)).transaction
    for part in path:
        found = getattr(found, part)
    assert found == value


@given(st.text(max_size=20))
def test_an_accepted_id_is_normalised_and_has_no_control_character(value: str) -> None:
    try:
        check_id(value, "id")
    except Rejection:
        return
    assert unicodedata.normalize("NFC", value) == value
    assert not any(unicodedata.category(char) in ("Cc", "Cs") for char in value)
    assert identity.SEPARATOR not in value


@pytest.mark.parametrize("value", [..., None, "", "  "])
def test_an_event_id_that_is_left_out_is_made_of_the_source_s_own_ids(value: Any) -> None:
    body = transaction(0)
    del body["event_id"]
    found = decode(body if value is ... else body | {"event_id": value}).transaction
    expected = identity.event_id("tests", "txn_00000000", "cust_000001", "2026-06-01T00:06:06.000000Z")
    assert found.event_id == expected


@pytest.mark.parametrize("absent", [{"source": None}, {}])
@pytest.mark.parametrize(("door", "source"), [(Door.TOPIC, "producer"), (Door.REST, "rest")])
def test_the_door_is_the_source_that_counts_where_none_is_named(
    door: Door, source: str, absent: dict[str, Any]
) -> None:
    body = transaction(0)
    del body["source"]
    assert decode(body | absent, door).transaction.source == source


def test_the_status_may_be_left_out() -> None:
    assert decode(transaction(0, status=None)).transaction.status == "completed"


@pytest.mark.parametrize(
    ("written", "canonical"),
    [
        ("2026-06-01T00:06:06Z", "2026-06-01T00:06:06.000000Z"),
        ("2026-06-01 00:06:06z", "2026-06-01T00:06:06.000000Z"),
        ("2026-06-01T00:06:06.5Z", "2026-06-01T00:06:06.500000Z"),
        ("2026-06-01T00:06:06.123456789Z", "2026-06-01T00:06:06.123456Z"),
        ("2026-06-01T05:36:06+0530", "2026-06-01T00:06:06.000000Z"),
        ("2026-05-31T14:06:06-10:00", "2026-06-01T00:06:06.000000Z"),
        ("2024-02-29T00:00:00Z", "2024-02-29T00:00:00.000000Z"),
    ],
)
def test_a_moment_gets_its_canonical_form(written: str, canonical: str) -> None:
    found = decode(transaction(0, occurred_at=written))
    assert found.transaction.occurred_at == canonical
    assert identity.from_epoch_micros(found.occurred_us) == canonical


@pytest.mark.parametrize(
    ("written", "reason"),
    [
        ("2026-02-29T00:00:00Z", "date"), ("2026-13-01T00:00:00Z", "date"), ("2026-06-01T24:00:00Z", "date"),
        ("2026-06-01T00:00:60Z", "date"), ("2026-06-01T00:00:00+25:00", "date"), ("2026-06-01", "date"),
        ("2026-06-01T00:00Z", "date"), ("2026-06-01T00:00:00Z\n", "date"), ("２０２６-06-01T00:00:00Z", "date"),
        ("1969-12-31T23:59:59Z", "date"), ("2201-01-01T00:00:00Z", "date"), ("1780272366", "date"),
        ("2026-06-01T00:00:00.5", "timezone"), ("2026-06-01 00:00:00", "timezone"), (1780272366.5, "type"),
        (True, "type"), ({"$date": 1}, "type"),
    ],
)  # fmt: skip
def test_a_moment_that_does_not_exist_or_is_not_told_whole_is_refused(written: Any, reason: str) -> None:
    assert refused(transaction(0, occurred_at=written)) == (reason, "occurred_at", 422)


@pytest.mark.parametrize(("ahead_us", "warnings"), [(0, ()), (1, ("skew",)), (MINUTE_US, ("skew",))])
def test_up_to_the_skew_an_event_may_come_from_the_future(ahead_us: int, warnings: tuple[str, ...]) -> None:
    assert decode(transaction(0, t_us=START_US + ahead_us)).warnings == warnings


def test_beyond_the_skew_it_may_not() -> None:
    assert refused(transaction(0, t_us=START_US + MINUTE_US + 1)) == ("future", "occurred_at", 422)


@pytest.mark.parametrize("edge", ["1970-01-01T00:00:00+01:00", "2200-12-31T23:30:00-01:00"])
def test_a_time_whose_moment_lies_outside_is_refused_as_every_later_reader_would(edge: str) -> None:
    assert refused(transaction(0, occurred_at=edge)) == ("date", "occurred_at", 422)


def test_a_time_whose_text_lies_at_the_edge_and_its_moment_within_is_accepted() -> None:
    body = json.dumps(transaction(0, occurred_at="1970-01-01T01:00:00+01:00")).encode()
    accepted = decode_transaction(body, door=Door.TOPIC, received_us=DAY_US, limits=LIMITS)
    assert accepted.transaction.occurred_at == "1970-01-01T00:00:00.000000Z"


def test_a_purchase_of_long_ago_is_refused() -> None:
    """Five years less what a log is kept for: no row of it could be streamed into a table by days."""
    old = identity.from_epoch_micros(START_US - 1300 * DAY_US)
    assert decode(transaction(0, occurred_at=old)).transaction.occurred_at == old
    older = identity.from_epoch_micros(START_US - 1300 * DAY_US - 1)
    assert refused(transaction(0, occurred_at=older)) == ("date", "occurred_at", 422)
