"""The catalogue of bad inputs, as the decoder answers them: reason, field and REST status."""

from __future__ import annotations

import json
from typing import Any

import pytest

from shared.contracts.rejections import InputWarning, Rejection
from shared.contracts.transactions import NOT_NEGATIVE, AcceptedTransaction, Door, Limits, decode_transaction
from tests.factories import START_US, transaction, transaction_bytes

NOW_US = START_US + 3600 * 1_000_000


def decode(raw: bytes | None, **options: Any) -> AcceptedTransaction:
    fields: dict[str, Any] = {"door": Door.TOPIC, "received_us": NOW_US, "limits": Limits()}
    return decode_transaction(raw, **(fields | options))


def refused(raw: bytes | None, **options: Any) -> tuple[str, str, int]:
    with pytest.raises(Rejection) as caught:
        decode(raw, **options)
    return caught.value.reason.value, caught.value.field, caught.value.status


def replaced(old: str, new: str) -> bytes:
    """The valid transaction with a piece of its JSON text replaced."""
    text = json.dumps(transaction(0))
    assert old in text
    return text.replace(old, new).encode()


NESTED = b'{"a":' * 21 + b"1" + b"}" * 21

WIRE: dict[str, tuple[bytes | None, str, int]] = {
    "1 malformed": (b'{"a": }', "syntax", 400),
    "1 trailing bytes": (transaction_bytes(0) + b"x", "syntax", 400),
    "2 empty": (b"", "empty", 400),
    "2 white space": (b" \n", "empty", 400),
    "3 tombstone": (None, "tombstone", 422),
    "4 array": (b"[1, 2]", "shape", 422),
    "4 scalar": (b"3", "shape", 422),
    "5 not UTF-8": (b'{"a": "\xff"}', "utf8", 400),
    "7 NaN": (replaced("67.51", "NaN"), "nonfinite", 400),
    "7 Infinity": (replaced("67.51", "-Infinity"), "nonfinite", 400),
    "8 1e400": (replaced("67.51", "1e400"), "range", 400),
    "15 beyond 2^53": (replaced("384", str(2**53 + 1)), "range", 422),
    "15 beyond 2^64, a float to some parsers": (
        replaced('"price": 67.51', '"price": 18446744073709551616'),
        "range",
        422,
    ),
    "15 below -2^64": (b'{"a":-98765432109876543210987}', "range", 422),
    "15 in a list": (b'{"a":[1,98765432109876543210987]}', "range", 422),
    "15 a thousand digits": (replaced("384", "9" * 1000), "range", 422),
    "23 duplicate key": (b'{"amount": 1, "amount": 2}', "duplicate-key", 400),
    "23 duplicate key, spaced": (b'{"amount" :1, "amount":2}', "duplicate-key", 400),
    "23 duplicate key, escaped": (b'{"amount":1, "\\u0061mount":2}', "duplicate-key", 400),
    "23 duplicate key, nested": (b'{"device": {"id": "a", "id": "b"}}', "duplicate-key", 400),
    "27 lone surrogate": (b'{"a": "\\ud800"}', "unicode", 400),
    "30 text too long": (json.dumps({"a": "x" * 5000}).encode(), "size", 413),
    "30 body too large": (b'{"a": "' + b"x" * 70_000 + b'"}', "size", 413),
    "33 too deep": (NESTED, "depth", 400),
    "33 far too deep": (b"[" * 100_000 + b"]" * 100_000, "size", 413),
    "34 too many keys": (json.dumps({f"k{i}": 1 for i in range(201)}).encode(), "shape", 422),
}


@pytest.mark.parametrize(("raw", "reason", "status"), WIRE.values(), ids=WIRE.keys())
def test_what_is_no_proper_json_object_is_refused(raw: bytes | None, reason: str, status: int) -> None:
    found = refused(raw)
    assert (found[0], found[2]) == (reason, status)


FIELDS: dict[str, tuple[dict[str, Any], str, str]] = {
    "9 boolean as number": ({"amount": True}, "type", "amount"),
    "9 number as boolean": ({"device": {"is_trusted": 1.0}}, "type", "device.is_trusted"),
    "9 fraction as count": ({"installments": {"count": 3.99}}, "type", "installments.count"),
    "10 amount as string": ({"amount": "12"}, "type", "amount"),
    "11 negative amount": ({"amount": -1}, "range", "amount"),
    "11 negative tenure": ({"customer": {"tenure_days": -1}}, "range", "customer.tenure_days"),
    "13 too precise": ({"amount": 10.005}, "precision", "amount"),
    "13 cents of yen": ({"amount": 10.5, "currency": "JPY"}, "precision", "amount"),
    "14 above the cap": ({"amount": 100_000.01}, "range", "amount"),
    "17 future": ({"occurred_at": "2026-06-01T02:00:00Z"}, "future", "occurred_at"),
    "19 naive time": ({"occurred_at": "2026-06-01T00:06:06"}, "timezone", "occurred_at"),
    "20 epoch number": ({"occurred_at": 1780272366}, "type", "occurred_at"),
    "21 year 0001": ({"occurred_at": "0001-01-01T00:00:00Z"}, "date", "occurred_at"),
    "21 year 9999": ({"occurred_at": "9999-01-01T00:00:00Z"}, "date", "occurred_at"),
    "21 30 February": ({"occurred_at": "2026-02-30T00:00:00Z"}, "date", "occurred_at"),
    "21 no time": ({"occurred_at": "yesterday"}, "date", "occurred_at"),
    "24 null customer": ({"customer_id": None}, "missing", "customer_id"),
    "24 blank customer": ({"customer_id": "  "}, "missing", "customer_id"),
    "24 no amount": ({"amount": None}, "missing", "amount"),
    "24 no transaction id": ({"transaction_id": ""}, "missing", "transaction_id"),
    "24 no currency": ({"currency": None}, "missing", "currency"),
    "25 long id": ({"transaction_id": "x" * 129}, "length", "transaction_id"),
    "26 NUL": ({"customer_id": "a\x00b"}, "control", "customer_id"),
    "26 line break": ({"device": {"id": "a\nb"}}, "control", "device.id"),
    "28 not NFC": ({"customer_id": "e\u0301"}, "unicode", "customer_id"),
    "28 zero width": ({"customer_id": "a\u200bb"}, "unicode", "customer_id"),
    "28 bidirectional": ({"customer_id": "a\u202eb"}, "unicode", "customer_id"),
    "35 currency": ({"currency": "XXX"}, "enum", "currency"),
    "35 status": ({"status": "dreamt"}, "enum", "status"),
    "a label": ({"will_default": True}, "shape", "will_default"),
    "no instalments": ({"installments": {"count": 0}}, "range", "installments.count"),
    "a block that is a list": ({"device": [1]}, "type", "device"),
}


@pytest.mark.parametrize(("changes", "reason", "field"), FIELDS.values(), ids=FIELDS.keys())
def test_a_field_that_breaks_a_rule_is_refused_by_name(changes: dict[str, Any], reason: str, field: str) -> None:
    assert refused(transaction_bytes(0, **changes)) == (reason, field, 422)


@pytest.mark.parametrize(("block", "field"), NOT_NEGATIVE)
@pytest.mark.parametrize("value", [-1, -0.01])
def test_what_counts_or_measures_may_not_be_negative(block: str, field: str, value: float) -> None:
    changes: dict[str, Any] = {block: {field: value}}
    assert refused(transaction_bytes(0, **changes)) == ("range", f"{block}.{field}", 422)


def test_every_amount_time_and_count_of_a_purchase_is_kept_from_being_negative() -> None:
    measured = {
        (block, field)
        for block, parts in transaction(0).items()
        if isinstance(parts, dict)
        for field, value in parts.items()
        if type(value) in (int, float)
    }
    free = {("installments", "count"), ("checkout", "economic_stress_factor"), ("source_scores", "risk_score")}
    assert measured - free <= set(NOT_NEGATIVE)


def test_an_unknown_schema_version_is_refused() -> None:
    assert refused(transaction_bytes(0), schema_version="99") == ("version", "schema_version", 422)


WARNED: dict[str, tuple[bytes, InputWarning]] = {
    "6 byte-order mark": (b"\xef\xbb\xbf" + transaction_bytes(0), InputWarning.BYTE_ORDER_MARK),
    "12 zero": (transaction_bytes(0, amount=0), InputWarning.ZERO_AMOUNT),
    "13 rounding noise": (replaced("67.51,", "67.5100000001,"), InputWarning.ROUNDING),
    "16 negative zero": (replaced('"amount": 67.51', '"amount": -0.0'), InputWarning.NEGATIVE_ZERO),
    "18 slightly ahead": (transaction_bytes(0, t_us=NOW_US + 1_000_000), InputWarning.SKEW),
    "35 unknown value": (transaction_bytes(0, product={"category": "toys"}), InputWarning.UNKNOWN_VALUE),
    "36 extra field": (transaction_bytes(0, loyalty="gold"), InputWarning.EXTRA_FIELD),
    "36 extra field in a block": (transaction_bytes(0, device={"battery": 7}), InputWarning.EXTRA_FIELD),
}


@pytest.mark.parametrize(("raw", "warning"), WARNED.values(), ids=WARNED.keys())
def test_what_is_only_odd_is_accepted_with_a_warning(raw: bytes, warning: InputWarning) -> None:
    assert decode(raw).warnings == (warning,)


def test_an_ordinary_event_has_no_warning() -> None:
    assert decode(transaction_bytes(0)).warnings == ()


def test_the_odd_values_are_mended() -> None:
    assert decode(replaced("67.51,", "67.5100000001,")).transaction.amount == 67.51
    assert str(decode(replaced('"amount": 67.51', '"amount": -0.0')).transaction.amount) == "0.0"
    unknown = decode(transaction_bytes(0, product={"category": "toys"}))
    assert unknown.transaction.product is not None
    assert unknown.transaction.product.category == "unknown"
    assert unknown.document["product"]["category"] == "toys"


@pytest.mark.parametrize("text", ["🛒 ok", "'; DROP TABLE x; --", "${jndi:ldap://x}", "=1+1", "redis.call('FLUSHALL')"])
def test_free_text_is_data_like_any_other(text: str) -> None:
    accepted = decode(transaction_bytes(0, product={"brand": text}))
    assert accepted.transaction.product is not None
    assert accepted.transaction.product.brand == text
