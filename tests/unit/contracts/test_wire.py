"""The fast way through the parser lets nothing through that the careful way would refuse."""

from __future__ import annotations

import contextlib
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.contracts import wire
from shared.contracts.dead_letters import dead_letter
from shared.contracts.events import encode
from shared.contracts.rejections import InputWarning, Rejection
from shared.contracts.transactions import Door, Limits, decode_transaction
from shared.contracts.wire import parse_object
from tests.factories import START_US, transaction, transaction_bytes

VALID = transaction_bytes(0)
PIECES = [
    b"", b" ", b"\n", b'"', b"\\", b"\\u0061", b"\\ud800", b"\\ud83d\\ude00", b":", b",", b"{", b"}", b"[", b"]",
    b'"amount": 1, ', b'"amount" : 1, ', b'"\\u0061mount":1,', b'\\":', b"0", b"-", b"1e400", b"1e22", b"NaN", b"null",
    b"true", b"9007199254740993", b"98765432109876543210987", b"0.12345678901234567", b"\x00", b"\xff", b"\xc3\xa9",
    b"\xed\xa0\x80", b"\xef\xbb\xbf", b"//", b"\x0c",
]  # fmt: skip
"""What JSON parsers disagree about, to be put somewhere into a valid event."""


@st.composite
def mutations(draw: st.DrawFn) -> bytes:
    raw = VALID
    for _ in range(draw(st.integers(1, 3))):
        start = draw(st.integers(0, len(raw)))
        end = min(len(raw), start + draw(st.sampled_from([0, 0, 1, 2, 17])))
        raw = raw[:start] + draw(st.sampled_from(PIECES)) + raw[end:]
    return raw


@given(mutations())
@settings(max_examples=600)
def test_what_the_fast_way_accepts_the_careful_way_accepts_with_the_same_value(raw: bytes) -> None:
    with contextlib.suppress(Rejection):
        document = parse_object(raw, max_bytes=10**6)
        plain = raw.removeprefix(wire.BYTE_ORDER_MARK)
        careful = wire._explain(plain, only_if_broken=True)
        assert json.dumps(document.body) == json.dumps(careful)


@given(mutations())
@settings(max_examples=300)
def test_any_refused_record_has_a_letter_that_can_be_written(raw: bytes) -> None:
    try:
        decode_transaction(raw, door=Door.TOPIC, received_us=START_US, limits=Limits())
    except Rejection as rejection:
        assert letter_of(rejection, raw)


def test_a_key_that_is_no_text_and_stands_twice_can_be_written_into_a_letter() -> None:
    raw = b'{"\\ud800": 1, "\\ud800": 2}'
    with pytest.raises(Rejection) as caught:
        parse_object(raw, max_bytes=1000)
    assert caught.value.reason.value == "duplicate-key"
    assert b"duplicate-key" in letter_of(caught.value, raw)


def letter_of(rejection: Rejection, raw: bytes) -> bytes:
    letter = dead_letter(
        rejection, service="tests", topic="t", partition=0, offset=0, received_at="2026-06-01T00:06:06.000000Z",
        key=None, value=raw,
    )  # fmt: skip
    return encode(letter)


@pytest.mark.parametrize("block", ["", "device", "customer"])
@pytest.mark.parametrize("spelling", ['"{}"', '"{}" ', '"{}"\n\t', '"\\u{:04x}{}"'])
def test_a_key_that_stands_twice_anywhere_in_a_whole_event_is_found(block: str, spelling: str) -> None:
    body = transaction(0)
    name = next(iter(body[block] if block else body))
    # str.format fills the first fields it finds: one for the plain spelling, two for the escaped one.
    key = spelling.format(ord(name[0]), name[1:]) if "u{" in spelling else spelling.format(name)
    opening = f'"{block}": {{' if block else "{"
    raw = json.dumps(body).replace(opening, opening + f'{key}: "other", ', 1).encode()
    with pytest.raises(Rejection) as caught:
        parse_object(raw, max_bytes=10**6)
    assert (caught.value.reason.value, caught.value.field, caught.value.status) == ("duplicate-key", name, 400)


@pytest.mark.parametrize(
    "text", ['a":', '":":":', '"a" :', "\\", '{"a": 1}', "12345678901234567", ": 12345678901234567"]
)
def test_text_that_looks_like_json_is_only_text(text: str) -> None:
    body = {"a": text, "b": {text: [text]}}
    for raw in (json.dumps(body), json.dumps(body, indent=1), json.dumps(body, separators=(",", ":"))):
        assert parse_object(raw.encode(), max_bytes=10**6).body == body


@pytest.mark.parametrize("depth", [1, 19, 20])
def test_nesting_up_to_the_limit_is_accepted(depth: int) -> None:
    assert parse_object(b'{"a":' * depth + b"1" + b"}" * depth, max_bytes=10**6).body
    lists = depth - 1
    assert parse_object(b'{"a":' + b"[" * lists + b"1" + b"]" * lists + b"}", max_bytes=10**6).body


@pytest.mark.parametrize("raw", [b'{"a":' + b"[" * 20 + b"]" * 20 + b"}", b"[" * 60_000, b'{"a":' * 10_000])
def test_nesting_beyond_the_limit_is_refused_however_it_ends(raw: bytes) -> None:
    with pytest.raises(Rejection) as caught:
        parse_object(raw, max_bytes=10**6)
    assert (caught.value.reason.value, caught.value.status) == ("depth", 400)


def test_the_limits_themselves_are_within_the_limits() -> None:
    assert parse_object(json.dumps({"a": "x" * wire.MAX_TEXT_LENGTH}).encode(), max_bytes=10**6)
    assert parse_object(json.dumps({f"k{i}": 1 for i in range(wire.MAX_KEYS)}).encode(), max_bytes=10**6)
    assert parse_object(b'{"a": 9007199254740992, "b": -9007199254740992}', max_bytes=10**6)
    assert parse_object(VALID, max_bytes=len(VALID))
    with pytest.raises(Rejection, match="size"):
        parse_object(VALID, max_bytes=len(VALID) - 1)


def test_a_byte_order_mark_is_taken_off_once() -> None:
    assert parse_object(b"\xef\xbb\xbf{}", max_bytes=100) == wire.Document({}, (InputWarning.BYTE_ORDER_MARK,))
    with pytest.raises(Rejection, match="syntax"):
        parse_object(b"\xef\xbb\xbf\xef\xbb\xbf{}", max_bytes=100)


def test_only_a_byte_order_mark_is_empty() -> None:
    with pytest.raises(Rejection, match="empty"):
        parse_object(b"\xef\xbb\xbf", max_bytes=100)
