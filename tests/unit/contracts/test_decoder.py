"""Properties of the decoder that hold for any input."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.contracts.events import encode
from shared.contracts.money import major_units
from shared.contracts.records import (
    decode_decision,
    decode_decision_update,
    decode_feature_vector,
    decode_outcome,
)
from shared.contracts.rejections import InputWarning, Rejection
from shared.contracts.transactions import BLOCKS, Door, Limits, decode_transaction
from shared.contracts.wire import parse_object
from tests.factories import DAY_US, START_US, accepted, outcome, transaction, transaction_bytes

FAR = START_US + 500 * DAY_US

NUMBERS = st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False)
JSON = st.recursive(
    st.none() | st.booleans() | NUMBERS | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@given(st.binary(max_size=300))
def test_no_bytes_raise_anything_but_a_rejection(raw: bytes) -> None:
    with contextlib.suppress(Rejection):
        decode_transaction(raw, door=Door.TOPIC, received_us=FAR, limits=Limits())
    for decode in (decode_outcome, decode_feature_vector, decode_decision, decode_decision_update):
        with contextlib.suppress(Rejection):
            decode(raw)


@given(st.sampled_from(sorted(transaction(0))), JSON)
@settings(max_examples=300)
def test_no_value_of_a_field_raises_anything_but_a_rejection(field: str, value: Any) -> None:
    raw = orjson.dumps(transaction(0) | {field: value}) if _encodable(value) else b"{}"
    with contextlib.suppress(Rejection):
        decode_transaction(raw, door=Door.REST, received_us=FAR, limits=Limits())


def _encodable(value: Any) -> bool:
    try:
        orjson.dumps(value)
    except TypeError:
        return False
    return True


@given(st.dictionaries(st.text(max_size=8), JSON, max_size=6))
def test_what_the_fast_way_accepts_the_careful_way_reads_the_same(body: dict[str, Any]) -> None:
    if not _encodable(body):
        return
    raw = orjson.dumps(body)
    with contextlib.suppress(Rejection):
        assert parse_object(raw, max_bytes=10**6).body == json.loads(raw)


@given(st.text(min_size=1, max_size=5), st.sampled_from(["", " ", "\n", "\t "]), st.booleans())
def test_a_key_that_stands_twice_is_found_however_it_is_written(key: str, space: str, escaped: bool) -> None:
    plain = json.dumps(key, ensure_ascii=False)
    other = '"' + "".join(f"\\u{ord(char):04x}" for char in key) + '"' if escaped and max(key) < "\ud800" else plain
    raw = f"{{{plain}{space}:1,{other}{space}:2}}".encode()
    with pytest.raises(Rejection) as caught:
        parse_object(raw, max_bytes=10**6)
    assert caught.value.reason.value == "duplicate-key"


@given(st.integers(0, 10_000_000), st.sampled_from([None, "weekly", "monthly"]))
def test_an_accepted_transaction_is_accepted_again_with_the_same_fingerprint(cents: int, frequency: str | None) -> None:
    first = accepted(0, amount=cents / 100, installments={"frequency": frequency})
    again = decode_transaction(encode(first.transaction), door=Door.REST, received_us=FAR, limits=Limits())
    assert again.transaction == first.transaction
    assert again.fingerprint == first.fingerprint
    assert again.amount_minor == cents


@st.composite
def bodies(draw: st.DrawFn) -> dict[str, Any]:
    """Transactions of every kind: blocks or fields absent, null, odd, of another currency, with extra fields."""
    body = transaction(0)
    for name in draw(st.lists(st.sampled_from(BLOCKS), max_size=3, unique=True)):
        field = draw(st.sampled_from(sorted(body[name])))
        default = body[name][field]
        if draw(st.booleans()):
            body[name] = draw(st.none() | st.just({}) | st.just({field: default}))
        elif isinstance(default, str):
            body[name][field] = draw(st.none() | st.text(max_size=6))
        else:
            body[name][field] = draw(st.none() | st.just(default) | NUMBERS | st.booleans())
    body["currency"] = draw(st.sampled_from(["USD", "JPY", "KWD"]))
    minor = draw(st.integers(0, 10**7))
    body["amount"] = minor_amount = major_units(minor, body["currency"])
    if draw(st.booleans()):
        body["amount"] = minor_amount + draw(st.sampled_from([1e-9, 4e-7, -1e-9])) if minor else -0.0
    for name in draw(st.lists(st.sampled_from(["event_id", "source", "status"]), max_size=3, unique=True)):
        body[name] = None
    if draw(st.booleans()):
        body["loyalty"] = draw(st.text(max_size=3))
    return body


@given(bodies(), st.sampled_from(list(Door)))
@settings(max_examples=300)
def test_whatever_is_accepted_is_accepted_again_as_the_same(body: dict[str, Any], door: Door) -> None:
    try:
        first = decode_transaction(orjson.dumps(body), door=door, received_us=FAR, limits=Limits())
    except Rejection:
        return
    for again_at in Door:
        again = decode_transaction(encode(first.transaction), door=again_at, received_us=FAR, limits=Limits())
        assert again.transaction == first.transaction
        assert (again.fingerprint, again.amount_minor) == (first.fingerprint, first.amount_minor)
        assert encode(again.transaction) == encode(first.transaction)
        zero = {InputWarning.ZERO_AMOUNT} if first.amount_minor == 0 else set()
        assert set(again.warnings) == zero, "what was mended is no longer odd"


def test_both_doors_give_one_event_the_same_fingerprint() -> None:
    raw = json.dumps({name: value for name, value in transaction(0).items() if name != "source"}).encode()
    doors = [decode_transaction(raw, door=door, received_us=FAR, limits=Limits()) for door in Door]
    assert [one.transaction.source for one in doors] == ["producer", "rest"]
    assert doors[0].fingerprint == doors[1].fingerprint


def test_a_changed_amount_has_another_fingerprint() -> None:
    assert accepted(0).fingerprint != accepted(0, amount=67.52).fingerprint


def test_the_same_moment_in_another_zone_is_the_same_event() -> None:
    here, there = accepted(0), accepted(0, occurred_at="2026-06-01T02:06:06+02:00")
    assert here.transaction == there.transaction


def test_a_correct_outcome_is_read_with_its_moment() -> None:
    found = decode_outcome(json.dumps(outcome(3, defaulted=True, observed_us=START_US)).encode())
    assert (found.outcome.event_id, found.outcome.defaulted, found.observed_us) == ("event-3", True, START_US)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"defaulted": 1.0}, "type"),
        ({"defaulted": None}, "missing"),
        ({"observed_at": "2026-06-01"}, "date"),
        ({"observed_at": "2026-06-01T00:00:00"}, "timezone"),
        ({"days_to_first_missed_payment": -1}, "range"),
        ({"customer_id": "a\x07"}, "control"),
    ],
)
def test_a_bad_outcome_is_refused(changes: dict[str, Any], reason: str) -> None:
    with pytest.raises(Rejection) as caught:
        decode_outcome(json.dumps(outcome(0, observed_us=START_US) | changes).encode())
    assert caught.value.reason.value == reason


def test_blocks_may_be_absent() -> None:
    names = ("transaction_id", "customer_id", "occurred_at", "amount", "currency")
    least = {name: transaction(0)[name] for name in names}
    raw = json.dumps(least).encode()
    found = decode_transaction(raw, door=Door.TOPIC, received_us=FAR, limits=Limits()).transaction
    assert found.device is None
    assert len(found.event_id) == 32


def test_limits_are_those_that_were_set() -> None:
    with pytest.raises(Rejection):
        decode_transaction(transaction_bytes(0), door=Door.TOPIC, received_us=FAR, limits=Limits(max_amount=67.5))
