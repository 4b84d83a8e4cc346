from __future__ import annotations

import base64
from collections import Counter
from datetime import date
from typing import Any

import msgspec
import orjson
import pytest

from services.ingestor.lines import Line
from services.ingestor.pipeline import Accepted, Refused, letter_of, read_line
from services.ingestor.simtom import Run
from shared.contracts import money
from shared.contracts.events import DeadLetter
from shared.contracts.headers import header
from shared.contracts.identity import epoch_micros
from shared.contracts.records import decode_outcome
from shared.contracts.rejections import RejectionReason
from shared.contracts.transactions import Door, Limits, decode_transaction
from tests.unit.ingestor import recorded

FLAT = recorded.flat_events("history-4-days")[0]


def line_of(event: Any, number: int = 0) -> Line:
    return Line(number, b"data: " + orjson.dumps(event))


def reason_of(raw: bytes, *, ended: bool = True, limits: Limits | None = None) -> str:
    result = read_line(Line(0, raw, ended), recorded.reading(limits=limits))
    return "accepted" if isinstance(result, Accepted) else result.rejection.reason.value


@pytest.mark.parametrize(("name", "count"), [("history-4-days", 4813), ("live-1000", 1000)])
def test_every_clean_recorded_event_is_accepted_and_every_reader_can_read_it(name: str, count: int) -> None:
    ids = set()
    for line, flat in zip(recorded.lines(name), recorded.flat_events(name), strict=True):
        result = read_line(line, recorded.reading())
        assert isinstance(result, Accepted), result
        transaction_record, outcome_record = result.records
        decoded = decode_transaction(
            transaction_record.value, door=Door.TOPIC, received_us=recorded.RECORDED_US, limits=Limits()
        )
        transaction = decoded.transaction
        known = decode_outcome(outcome_record.value)
        outcome = known.outcome
        assert transaction.event_id == outcome.event_id == result.event_id
        assert transaction_record.key == outcome_record.key == transaction.customer_id.encode()
        assert transaction.amount == flat["amount"]
        assert outcome.defaulted is flat["will_default"]
        days = flat["days_to_first_missed_payment"] if flat["will_default"] else 14 * flat["installment_count"]
        assert known.observed_us - epoch_micros(transaction.occurred_at) == days * 86_400_000_000
        assert result.day.isoformat() == flat["_timestamp"][:10]
        assert result.warnings == ()
        ids.add(result.event_id)
    assert len(ids) == count


def expected_reason(flat: dict[str, Any]) -> str:
    """What the rule book says of a noisy event, told without the decoder: ranges, then the amount, then types."""
    not_negative = ("first_payment_amount", "customer_tenure_days", "product_price", "payment_credit_limit",
                    "credit_utilization", "cart_abandonment_count", "price_comparison_time",
                    "time_on_site_seconds", "amount")  # fmt: skip
    if any(flat.get(name, 0) < 0 for name in not_negative) or flat["amount"] > 100_000:
        return "range"
    try:
        money.minor_units(flat["amount"], "USD")
    except money.TooPrecise:
        return "precision"
    return "type"


def test_every_outlier_is_refused_for_the_rule_that_it_breaks() -> None:
    found: Counter[str] = Counter()
    for line, flat in zip(recorded.lines("outliers-500"), recorded.flat_events("outliers-500"), strict=True):
        result = read_line(line, recorded.reading())
        assert isinstance(result, Refused)
        assert result.rejection.reason.value == expected_reason(flat), (flat, result.rejection)
        found[result.rejection.reason.value] += 1
    assert found["range"] > 50
    assert found["precision"] > 50


def test_the_same_line_has_the_same_bytes_whenever_it_is_read_again() -> None:
    later = recorded.reading(server_day=date(2026, 12, 3), received_us=recorded.RECORDED_US + 10 * 86_400_000_000)
    for flat in recorded.flat_events("history-4-days")[:50]:
        first = read_line(line_of(flat), recorded.reading())
        again = read_line(line_of({**flat, "customer_tenure_days": flat["customer_tenure_days"] + 10}), later)
        assert isinstance(first, Accepted)
        assert isinstance(again, Accepted)
        assert first.records == again.records


def test_headers_say_what_the_record_is() -> None:
    result = read_line(line_of(FLAT), recorded.reading())
    assert isinstance(result, Accepted)
    transaction, outcome = result.records
    assert header(transaction.headers, "ce_id") == header(outcome.headers, "ce_id") == result.event_id
    assert header(transaction.headers, "ce_type") == "com.flit.risk.transaction"
    assert header(outcome.headers, "ce_type") == "com.flit.risk.outcome"
    assert header(transaction.headers, "ce_source") == "simtom/bnpl/2026-06-01.20260601"
    assert header(transaction.headers, "ce_time") == "2026-06-01T00:06:06.000000Z"
    traceparent = header(transaction.headers, "traceparent")
    assert traceparent is not None
    assert [len(part) for part in traceparent.split("-")] == [2, 32, 16, 2]


DATA = b"data: " + orjson.dumps(FLAT)


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (DATA, "accepted"),
        (b"data:" + orjson.dumps(FLAT), "accepted"),
        (orjson.dumps(FLAT), "syntax"),
        (b"<html><body>502 Bad Gateway</body></html>", "syntax"),
        (b": keep-alive", "syntax"),
        (DATA[:200], "syntax"),
        (DATA + b"}", "syntax"),
        (b"data: \xff\xfe", "utf8"),
        (b"data:", "empty"),
        (b"data: [1, 2]", "shape"),
        (b"data: 17", "shape"),
        (b'data: {"a": 1, "a": 2}', "duplicate-key"),
        (b'data: {"amount": NaN}', "nonfinite"),
        (b"data: " + b'{"a":' * 21 + b"1" + b"}" * 21, "depth"),
        (b"data: {}", "missing"),
    ],
)
def test_a_line_that_is_no_event_is_refused_with_its_reason(raw: bytes, reason: str) -> None:
    assert reason_of(raw) == reason


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"transaction_id": None}, "missing"),
        ({"customer_id": " "}, "missing"),
        ({"customer_id": 5}, "type"),
        ({"_timestamp": None}, "missing"),
        ({"_timestamp": 1780272366}, "type"),
        ({"_timestamp": "2026-02-30T00:00:00"}, "date"),
        ({"_timestamp": "2026-12-24T00:00:00"}, "future"),
        ({"amount": "12"}, "type"),
        ({"amount": -1.0}, "range"),
        ({"amount": 10.001}, "precision"),
        ({"currency": "XXX"}, "enum"),
        ({"device_is_trusted": 1.0}, "type"),
        ({"customer_id": "c" * 120}, "length"),
        ({"customer_id": "c\x00"}, "control"),
        ({"will_default": 0.0}, "type"),
        ({"defaulted": True}, "shape"),
    ],
)
def test_an_event_that_breaks_a_rule_is_refused_with_its_reason(changes: dict[str, Any], reason: str) -> None:
    assert reason_of(b"data: " + orjson.dumps({**FLAT, **changes})) == reason


@pytest.mark.parametrize("length", [1, 5, 6, 7, 300, len(DATA) - 1])
def test_a_line_that_the_stream_cut_off_is_a_syntax_error_wherever_the_cut_fell(length: int) -> None:
    assert reason_of(DATA[:length], ended=False) == "syntax"


def test_a_cut_within_a_character_is_a_syntax_error_and_not_broken_text() -> None:
    assert reason_of(b'data: {"product_brand": "Caf\xc3', ended=False) == "syntax"


def test_a_line_that_only_lacks_its_line_end_is_whole() -> None:
    assert reason_of(DATA, ended=False) == "accepted"


def test_a_line_over_the_limit_is_refused_for_its_size() -> None:
    assert reason_of(DATA, limits=Limits(max_body_bytes=500)) == "size"
    result = read_line(Line(0, b"data: x", overlong=True), recorded.reading())
    assert isinstance(result, Refused)
    assert result.rejection.reason is RejectionReason.SIZE


def test_a_new_enumeration_value_is_accepted_with_a_warning() -> None:
    result = read_line(line_of({**FLAT, "product_category": "garden", "new_field": 1}), recorded.reading())
    assert isinstance(result, Accepted)
    assert {warning.value for warning in result.warnings} == {"unknown-value", "extra-field"}
    assert orjson.loads(result.records[0].value)["new_field"] == 1


def test_a_letter_holds_the_original_bytes_and_where_they_lay() -> None:
    run = Run.history("bnpl", date(2026, 6, 1), 7)
    result = read_line(Line(41, b"data: {broken"), recorded.reading(run))
    assert isinstance(result, Refused)
    record = letter_of(result, recorded.reading(run))
    letter = msgspec.json.decode(record.value, type=DeadLetter)
    assert record.topic == "dead-letters"
    assert record.key is None
    assert (letter.topic, letter.partition, letter.offset) == ("simtom/bnpl/2026-06-01.7", -1, 41)
    assert (letter.reason, letter.service) == ("syntax", "ingestor")
    assert letter.value_base64 is not None
    assert base64.b64decode(letter.value_base64) == b"data: {broken"
