from __future__ import annotations

import base64
from datetime import date
from typing import Any

import msgspec
import orjson
import pytest

from services.ingestor.lines import Line
from services.ingestor.pipeline import Accepted, Refused, letter_of, read_line
from services.ingestor.replay import records_of
from shared.contracts.dead_letters import MAX_VALUE_BYTES, dead_letter
from shared.contracts.events import DeadLetter
from shared.contracts.headers import header
from shared.contracts.rejections import Rejection, RejectionReason
from shared.contracts.topics import FEATURES, TRANSACTIONS
from shared.contracts.transactions import Limits
from shared.kafka.producer import OutgoingRecord
from tests.unit.ingestor import recorded

REJECTION = Rejection(RejectionReason.RANGE, "amount", "zero or more")
FLAT = recorded.flat_events("history-4-days")[0]


def letter(**changes: Any) -> DeadLetter:
    values: dict[str, Any] = {
        "service": "features", "topic": "bnpl-transactions", "partition": 2, "offset": 17,
        "received_at": "2026-11-23T08:00:00.000000Z", "key": b"cust", "value": b"\xff\x00 original",
        "headers": [("ce_id", b"x"), ("schema_version", b"1")],
    }  # fmt: skip
    return dead_letter(REJECTION, **{**values, **changes})


def records(of: DeadLetter) -> list[OutgoingRecord] | str:
    return records_of(of, scope="profile", limits=Limits(), received_us=recorded.RECORDED_US)


def the_one_of(of: DeadLetter) -> OutgoingRecord:
    found = records(of)
    assert not isinstance(found, str)
    assert len(found) == 1
    return found[0]


def test_a_refused_record_goes_back_with_its_own_bytes_key_and_headers() -> None:
    record = the_one_of(letter())
    assert (record.topic, record.key, record.value) == ("bnpl-transactions", b"cust", b"\xff\x00 original")
    assert header(record.headers, "replayed_from") == "bnpl-transactions-2-17"
    assert header(record.headers, "ce_id") == "x"


def test_a_record_without_a_key_goes_back_without_one() -> None:
    assert the_one_of(letter(key=None)).key is None


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"value": None}, "without a value"),
        ({"value": b"x" * (MAX_VALUE_BYTES + 1)}, "kept only in part"),
        ({"topic": "payments"}, "of an unknown topic"),
        ({"topic": "dead-letters"}, "of an unknown topic"),
        ({"topic": "payments", "partition": -1}, "of an unknown source"),
    ],
)
def test_what_can_not_be_sent_again_says_why(changes: dict[str, Any], why: str) -> None:
    assert records(letter(**changes)) == why


@pytest.mark.parametrize("topic", [TRANSACTIONS.name, FEATURES.name])
def test_what_contradicted_its_event_is_never_sent_again(topic: str) -> None:
    refused = msgspec.structs.replace(letter(topic=topic), reason=RejectionReason.CONFLICT.value)
    assert records(refused) == "of an event that was decided for another purchase"


def test_the_last_byte_that_is_kept_whole_can_be_sent_again() -> None:
    assert not isinstance(records(letter(value=b"x" * MAX_VALUE_BYTES)), str)


def source_letter(event: dict[str, Any], limits: Limits) -> tuple[DeadLetter, Line]:
    line = Line(12, b"data: " + orjson.dumps(event))
    refused = read_line(line, recorded.reading(limits=limits))
    assert isinstance(refused, Refused)
    return msgspec.json.decode(letter_of(refused, recorded.reading()).value, type=DeadLetter), line


def test_a_line_that_is_now_accepted_is_mapped_as_it_would_have_been_then() -> None:
    refused_letter, line = source_letter(FLAT, Limits(max_amount=1))
    then = read_line(line, recorded.reading())
    assert isinstance(then, Accepted)
    again = records(refused_letter)
    assert not isinstance(again, str)
    assert [(r.topic, r.key, r.value) for r in again] == [(r.topic, r.key, r.value) for r in then.records]
    assert {header(record.headers, "replayed_from") for record in again} == {"simtom/bnpl/2026-06-01.20260601--1-12"}


def test_a_line_that_is_still_refused_is_not_sent() -> None:
    refused_letter, _ = source_letter({**FLAT, "amount": -3.0}, Limits())
    assert records(refused_letter) == "still refused"


def test_the_tenure_is_counted_from_the_day_on_which_the_line_came_in() -> None:
    refused_letter, _ = source_letter(FLAT, Limits(max_amount=1))
    again = records(refused_letter)
    assert not isinstance(again, str)
    days = (recorded.RECORDED_ON - date(2026, 6, 1)).days
    assert orjson.loads(again[0].value or b"")["customer"]["tenure_days"] == FLAT["customer_tenure_days"] - days
    assert refused_letter.value_base64 is not None
    assert base64.b64decode(refused_letter.value_base64).startswith(b"data: ")
