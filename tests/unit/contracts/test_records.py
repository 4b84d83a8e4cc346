"""The events behind the first topic: written, read back, and refused where they are broken."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.contracts.dead_letters import MAX_VALUE_BYTES, dead_letter
from shared.contracts.events import (
    AsOf,
    DeadLetter,
    Decision,
    DecisionUpdate,
    FeatureVector,
    Outcome,
    Reason,
    ShadowScore,
    UpdateKind,
    VectorState,
    Verdict,
    encode,
)
from shared.contracts.identity import from_epoch_micros
from shared.contracts.records import (
    MAX_DAYS_TO_MISSED_PAYMENT,
    MAX_RECORD_BYTES,
    AcceptedOutcome,
    decode_decision,
    decode_decision_update,
    decode_feature_vector,
    decode_outcome,
)
from shared.contracts.rejections import InputWarning, Rejection, RejectionReason
from shared.contracts.transactions import convert
from shared.contracts.wire import parse_object
from tests.factories import DAY_US, START_US, accepted, outcome

WHEN = from_epoch_micros(START_US)
AS_OF = AsOf(transactions=7, outcomes=-1)
FEATURES: dict[str, float | None] = {"a": 0.1, "b": None, "c": -3.0}

VECTOR = FeatureVector(
    event_id="event-0", customer_id="cust_000001", occurred_at=WHEN, feature_set_version="1", features=FEATURES,
    feature_hash="0" * 64, as_of=AS_OF, transaction=accepted(0).transaction, computed_at=WHEN,
    state=VectorState.REBUILDING,
)  # fmt: skip
DECISION = Decision(
    event_id="event-0", customer_id="cust_000001", transaction_id="txn", decision=Verdict.REVIEW,
    probability_of_default=0.25, expected_loss=12.5, reasons=[Reason(code="c", text="why, in words: ä")],
    model_version="m", policy_version="p", feature_set_version="1", features=FEATURES, feature_hash="0" * 64,
    as_of=AS_OF, variant="champion",
    shadow=[ShadowScore(model_version="m2", probability_of_default=0.3, decision=Verdict.APPROVE)],
    degraded=None, channel="stream", occurred_at=WHEN, decided_at=WHEN,
)  # fmt: skip
UPDATE = DecisionUpdate(
    update_id="u", event_id="event-0", customer_id="cust_000001", kind=UpdateKind.CANCEL, verdict=None,
    actor="checkout", note=None, updated_at=WHEN,
)  # fmt: skip


def test_what_is_written_is_read_back_the_same() -> None:
    assert decode_feature_vector(encode(VECTOR)) == (VECTOR, START_US)
    assert decode_decision(encode(DECISION)) == DECISION
    assert decode_decision_update(encode(UPDATE)) == UPDATE


def test_the_same_event_has_the_same_bytes() -> None:
    assert encode(decode_decision(encode(DECISION))) == encode(DECISION)
    assert encode(decode_feature_vector(encode(VECTOR))[0]) == encode(VECTOR)


def changed(event: msgspec.Struct, changes: dict[str, Any]) -> bytes:
    body = msgspec.to_builtins(event) | changes
    return json.dumps({name: value for name, value in body.items() if value is not ...}).encode()


@pytest.mark.parametrize(
    ("changes", "reason", "field"),
    [
        ({"event_id": ...}, "missing", "event_id"),
        ({"as_of": {"transactions": 1}}, "missing", "as_of.outcomes"),
        ({"as_of": {"transactions": 1.5, "outcomes": 1}}, "type", "as_of.transactions"),
        ({"features": {"a": "1"}}, "type", "features[...]"),
        ({"features": {"a": True}}, "type", "features[...]"),
        ({"features": None}, "type", "features"),
        ({"state": "stale"}, "enum", "state"),
        ({"occurred_at": "2026-06-01T00:06:06"}, "date", "occurred_at"),
        ({"occurred_at": "soon"}, "date", "occurred_at"),
        ({"transaction": None}, "type", "transaction"),
    ],
)
def test_a_broken_vector_is_refused_by_the_field_s_path(changes: dict[str, Any], reason: str, field: str) -> None:
    with pytest.raises(Rejection) as caught:
        decode_feature_vector(changed(VECTOR, changes))
    assert (caught.value.reason.value, caught.value.field) == (reason, field)


@pytest.mark.parametrize(
    ("changes", "reason", "field"),
    [
        ({"decision": "maybe"}, "enum", "decision"),
        ({"channel": "fax"}, "enum", "channel"),
        ({"probability_of_default": "0.5"}, "type", "probability_of_default"),
        ({"reasons": [{"code": "c"}]}, "missing", "reasons[0].text"),
        ({"degraded": ...}, "missing", "degraded"),
    ],
)
def test_a_broken_decision_is_refused_by_the_field_s_path(changes: dict[str, Any], reason: str, field: str) -> None:
    with pytest.raises(Rejection) as caught:
        decode_decision(changed(DECISION, changes))
    assert (caught.value.reason.value, caught.value.field) == (reason, field)


def test_a_broken_update_is_refused() -> None:
    with pytest.raises(Rejection, match="enum: kind"):
        decode_decision_update(changed(UPDATE, {"kind": "rumour"}))


def with_blocks(**blocks: dict[str, Any]) -> FeatureVector:
    """The vector, its transaction's blocks with other values."""
    transaction = VECTOR.transaction
    for block, values in blocks.items():
        changed_block = msgspec.structs.replace(getattr(transaction, block), **values)
        transaction = msgspec.structs.replace(transaction, **{block: changed_block})
    return msgspec.structs.replace(VECTOR, transaction=transaction)


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (encode(VECTOR), None),
        (encode(with_blocks(product={"brand": 'a ":" in it, \\ and ä'})), None),
        (encode(msgspec.structs.replace(VECTOR, features={f"feature_{n}": 1e300 for n in range(139)})), None),
        (encode(with_blocks(customer={"tenure_days": 2**53})), None),
        (encode(VECTOR).replace(b"{", b"{ ", 1), None),
        (encode(VECTOR).replace(b"0.1", b"1e-1", 1), None),
        (encode(with_blocks(customer={"tenure_days": 2**53 + 1})), "range"),
        (encode(with_blocks(installments={"count": -(2**60)})), "range"),
        (encode(with_blocks(checkout={"cart_abandonment_count": 2**60})), "range"),
        (encode(msgspec.structs.replace(VECTOR, as_of=AsOf(transactions=2**60, outcomes=-1))), "range"),
        (encode(with_blocks(product={"brand": "x" * 4097})), "size"),
        (encode(msgspec.structs.replace(VECTOR, features={"x" * 4097: 1.0})), "size"),
        (encode(msgspec.structs.replace(VECTOR, features={f"feature_{n}": 1.0 for n in range(201)})), "shape"),
        (b'{"a":' * 50_000 + b"1" + b"}" * 50_000, "depth"),
        (encode(VECTOR).replace(b"{", b'{"event_id":"event-0",', 1), "duplicate-key"),
        (encode(VECTOR).replace(b"0.1", b"NaN", 1), "nonfinite"),
        (encode(VECTOR).replace(b"0.1", b"1e400", 1), "range"),
        (encode(VECTOR).replace(b"event-0", b"\\ud800", 1), "unicode"),
        (encode(VECTOR).replace(b"event-0", b"\xff", 1), "utf8"),
        (encode(VECTOR) + b"{}", "syntax"),
    ],
)
def test_a_vector_of_ours_is_read_as_strictly_as_any_other(raw: bytes, reason: str | None) -> None:
    """Records that our own encoder made are not taken apart value by value; the rules are the same."""
    if reason is None:
        assert decode_feature_vector(raw)[0] == convert(json.loads(raw), FeatureVector)
    else:
        with pytest.raises(Rejection) as caught:
            decode_feature_vector(raw)
        assert caught.value.reason.value == reason


@given(st.data())
def test_a_vector_with_a_byte_changed_is_read_as_the_strict_parser_reads_it(data: st.DataObject) -> None:
    raw = bytearray(encode(VECTOR))
    raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.sampled_from(b'0123456789-.eE"\\{}[]:, nutl\x00\xff'))
    found, expected = (read_or_refusal(read, bytes(raw)) for read in (decode_feature_vector, strictly))
    assert found == expected


def strictly(raw: bytes) -> tuple[FeatureVector, int]:
    """By the parser for records of anybody."""
    body = parse_object(raw, max_bytes=MAX_RECORD_BYTES).body
    return decode_feature_vector(json.dumps(body, indent=1).encode())


def read_or_refusal(read: Callable[[bytes], Any], raw: bytes) -> Any:
    try:
        return read(raw)
    except Rejection as rejection:
        return rejection.reason


def test_unknown_fields_of_newer_writers_are_passed_over() -> None:
    assert decode_decision(changed(DECISION, {"new": 1})) == DECISION
    assert decode_feature_vector(changed(VECTOR, {"new": 1}))[0] == VECTOR


@pytest.mark.parametrize("decode", [decode_outcome, decode_feature_vector, decode_decision, decode_decision_update])
@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (None, "tombstone"), (b"", "empty"), (b"[]", "shape"), (b"{", "syntax"), (b'{"a":1,"a":2}', "duplicate-key"),
        (b'{"a": "' + b"x" * MAX_RECORD_BYTES + b'"}', "size"),
    ],
)  # fmt: skip
def test_every_topic_refuses_what_is_no_proper_object(decode: Any, raw: bytes | None, reason: str) -> None:
    with pytest.raises(Rejection) as caught:
        decode(raw)
    assert caught.value.reason.value == reason


@pytest.mark.parametrize("name", ["event_id", "customer_id", "observed_at", "defaulted"])
@pytest.mark.parametrize("value", [None, "", " \t"])
def test_an_outcome_s_required_fields_may_not_be_blank(name: str, value: Any) -> None:
    with pytest.raises(Rejection) as caught:
        decode_outcome(json.dumps(outcome(0, observed_us=START_US) | {name: value}).encode())
    assert (caught.value.reason.value, caught.value.field) == ("missing", name)


def test_an_outcome_is_put_into_canonical_form() -> None:
    body = outcome(0, observed_us=START_US) | {"observed_at": "2026-06-01T02:06:06+02:00", "extra": 1}
    del body["days_to_first_missed_payment"]
    assert decode_outcome(json.dumps(body).encode()) == AcceptedOutcome(
        Outcome(
            event_id="event-0", customer_id="cust_000001", defaulted=False, days_to_first_missed_payment=None,
            observed_at=WHEN,
        ),
        START_US,
        (InputWarning.EXTRA_FIELD,),
    )  # fmt: skip


@pytest.mark.parametrize(("days", "fits"), [(0, True), (MAX_DAYS_TO_MISSED_PAYMENT, True), (1831, False), (-1, False)])
def test_days_to_the_missed_payment_have_bounds(days: int, fits: bool) -> None:
    raw = json.dumps(outcome(0, observed_us=START_US) | {"days_to_first_missed_payment": days}).encode()
    if fits:
        assert decode_outcome(raw).outcome.days_to_first_missed_payment == days
    else:
        with pytest.raises(Rejection, match="range: days_to_first_missed_payment"):
            decode_outcome(raw)


def letter(value: bytes | None, key: bytes | None = None) -> DeadLetter:
    return dead_letter(
        Rejection(RejectionReason.UTF8, "", "UTF-8"), service="features", topic="t", partition=3, offset=9,
        received_at=WHEN, key=key, value=value, headers=[("ce_id", b"a"), ("odd", b"\xff\x00")],
    )  # fmt: skip


@given(st.none() | st.binary(max_size=200), st.none() | st.binary(max_size=50))
def test_a_letter_gives_back_the_bytes_of_any_record(value: bytes | None, key: bytes | None) -> None:
    found = msgspec.json.decode(encode(letter(value, key)), type=DeadLetter)
    assert (found.value_base64 is None, found.key_base64 is None) == (value is None, key is None)
    assert base64.b64decode(found.value_base64 or "") == (value or b"")
    assert base64.b64decode(found.key_base64 or "") == (key or b"")
    assert (found.partition, found.offset, found.reason) == (3, 9, "utf8")


@pytest.mark.parametrize("size", [MAX_VALUE_BYTES - 1, MAX_VALUE_BYTES, MAX_VALUE_BYTES + 1, 1_000_000])
def test_a_letter_keeps_64_kib_and_says_how_much_there_was(size: int) -> None:
    found = letter(b"\xfe" * size)
    assert len(base64.b64decode(found.value_base64 or "")) == min(size, 65_536)
    assert found.value_bytes == size
    assert len(encode(found)) < 100_000


@pytest.mark.parametrize(("days", "reason"), [(-1300, None), (0, None), (360, None), (-1301, "date"), (361, "future")])
def test_what_no_warehouse_takes_is_refused_by_the_clock_of_its_record(days: int, reason: str | None) -> None:
    raw = json.dumps(outcome(0, observed_us=START_US + days * DAY_US)).encode()
    assert decode_outcome(raw).observed_us == START_US + days * DAY_US
    if reason is None:
        decode_outcome(raw, received_us=START_US)
        return
    with pytest.raises(Rejection, match=f"{reason}: observed_at"):
        decode_outcome(raw, received_us=START_US)
