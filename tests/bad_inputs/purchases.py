"""Bad purchases: bodies that both doors judge alike, one list for every test of them.

The number is that of the catalogue (`docs/reference/bad-inputs.md`).
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from shared.contracts.rejections import MALFORMED, TOO_LARGE, UNPROCESSABLE, InputWarning, RejectionReason
from tests.bad_inputs.rows import BadInput, Make, Subject

TEXTS = ("'; DROP TABLE x; --", "${jndi:ldap://x}", "=1+1", "redis.call('FLUSHALL')", "a\nlevel=error forged=1")


def _fixed(raw: bytes) -> Make:
    return lambda subject: raw


def _changed(**changes: Any) -> Make:
    return lambda subject: subject.purchase(**changes)


def _written(old: str, new: str) -> Make:
    return lambda subject: subject.purchase_with(old, new)


def _at(seconds: int) -> Make:
    return lambda subject: subject.purchase(occurred_at=subject.after(seconds))


def _malformed() -> Iterator[BadInput]:
    """No JSON object within the limits: refused before any field is looked at."""
    nested = b'{"a":' * 21 + b"1" + b"}" * 21
    for row, name, make, reason, field in (
        ("1", "malformed", _fixed(b'{"a": }'), RejectionReason.SYNTAX, ""),
        ("1", "cut in the middle", lambda s: s.purchase()[:200], RejectionReason.SYNTAX, ""),
        ("1", "bytes after the end", lambda s: s.purchase() + b"x", RejectionReason.SYNTAX, ""),
        ("1", "two objects", lambda s: s.purchase() + s.purchase(), RejectionReason.SYNTAX, ""),
        ("2", "empty", _fixed(b""), RejectionReason.EMPTY, ""),
        ("2", "white space", _fixed(b" \n"), RejectionReason.EMPTY, ""),
        ("2", "only a byte-order mark", _fixed(b"\xef\xbb\xbf"), RejectionReason.EMPTY, ""),
        ("5", "not UTF-8", _fixed(b'{"a": "\xff"}'), RejectionReason.UTF8, ""),
        ("5", "UTF-16", lambda s: s.purchase().decode().encode("utf-16"), RejectionReason.UTF8, ""),
        ("5", "an overlong form", _fixed(b'{"a": "\xc0\xaf"}'), RejectionReason.UTF8, ""),
        ("7", "NaN", _written("67.51", "NaN"), RejectionReason.NONFINITE, ""),
        ("7", "minus Infinity", _written("67.51", "-Infinity"), RejectionReason.NONFINITE, ""),
        ("8", "1e400", _written("67.51", "1e400"), RejectionReason.RANGE, ""),
        ("23", "a key twice", _fixed(b'{"amount": 1, "amount": 2}'), RejectionReason.DUPLICATE_KEY, "amount"),
        ("23", "spaced", _fixed(b'{"amount" :1, "amount":2}'), RejectionReason.DUPLICATE_KEY, "amount"),
        ("23", "escaped", _fixed(b'{"amount":1, "\\u0061mount":2}'), RejectionReason.DUPLICATE_KEY, "amount"),
        ("23", "in a block", _fixed(b'{"device": {"id": "a", "id": "b"}}'), RejectionReason.DUPLICATE_KEY, "id"),
        (
            "23",
            "in a whole purchase",
            _written('"amount":', '"amount": 1, "amount":'),
            RejectionReason.DUPLICATE_KEY,
            "amount",
        ),
        ("27", "half a surrogate pair", _fixed(b'{"a": "\\ud800"}'), RejectionReason.UNICODE, ""),
        ("27", "the other half", _fixed(b'{"a": "\\uDFFFx"}'), RejectionReason.UNICODE, ""),
        ("27", "in a key", _fixed(b'{"\\ud800": 1}'), RejectionReason.UNICODE, ""),
        ("27", "raw bytes of one", _fixed(b'{"a": "\xed\xa0\x80"}'), RejectionReason.UTF8, ""),
        ("33", "too deep", _fixed(nested), RejectionReason.DEPTH, ""),
        ("33", "too deep in lists", _fixed(b'{"a":' + b"[" * 20 + b"]" * 20 + b"}"), RejectionReason.DEPTH, ""),
        ("33", "deeper than a parser's stack", _fixed(b"[" * 30_000 + b"]" * 30_000), RejectionReason.DEPTH, ""),
        ("33", "never closed", _fixed(b'{"a":' * 10_000), RejectionReason.DEPTH, ""),
    ):
        yield BadInput(row, name, make, reason, field, MALFORMED)
    for name, make in (
        ("a text too long", _changed(product={"brand": "x" * 4097})),
        ("a key too long", _changed(**{"x" * 4097: 1})),
        ("a body too large", _fixed(b'{"a": "' + b"x" * 70_000 + b'"}')),
        ("white space without end", lambda s: s.purchase() + b" " * 70_000),
    ):
        yield BadInput("30", name, make, RejectionReason.SIZE, "", TOO_LARGE)


def _misshapen() -> Iterator[BadInput]:
    """JSON, but no purchase."""
    for row, name, make, reason, field in (
        ("4", "a list", _fixed(b"[1, 2]"), RejectionReason.SHAPE, ""),
        ("4", "a list of purchases", lambda s: b"[" + s.purchase() + b"]", RejectionReason.SHAPE, ""),
        ("4", "a number", _fixed(b"3"), RejectionReason.SHAPE, ""),
        ("4", "a text", _fixed(b'"purchase"'), RejectionReason.SHAPE, ""),
        ("4", "null", _fixed(b"null"), RejectionReason.SHAPE, ""),
        ("4", "a block that is a list", _changed(device=[1]), RejectionReason.TYPE, "device"),
        ("9", "true as amount", _changed(amount=True), RejectionReason.TYPE, "amount"),
        ("9", "true as count", _changed(installments={"count": True}), RejectionReason.TYPE, "installments.count"),
        ("9", "1.0 as yes", _changed(device={"is_trusted": 1.0}), RejectionReason.TYPE, "device.is_trusted"),
        ("9", "1 as yes", _changed(device={"is_trusted": 1}), RejectionReason.TYPE, "device.is_trusted"),
        (
            "9",
            "a fraction as count",
            _changed(installments={"count": 3.99}),
            RejectionReason.TYPE,
            "installments.count",
        ),
        ("10", "amount as text", _changed(amount="12"), RejectionReason.TYPE, "amount"),
        ("10", "amount in an object", _changed(amount={"value": 12}), RejectionReason.TYPE, "amount"),
        ("20", "seconds since 1970", _changed(occurred_at=1_780_272_366), RejectionReason.TYPE, "occurred_at"),
        ("34", "too many keys", lambda s: s.purchase(**{f"k{i}": 1 for i in range(201)}), RejectionReason.SHAPE, ""),
        (
            "34",
            "too many keys in a block",
            _changed(device={f"k{i}": 1 for i in range(201)}),
            RejectionReason.SHAPE,
            "",
        ),
        ("36", "a label", _changed(will_default=True), RejectionReason.SHAPE, "will_default"),
        (
            "36",
            "a label in a block",
            _changed(customer={"will_default": True}),
            RejectionReason.SHAPE,
            "customer.will_default",
        ),
        (
            "37",
            "a version to come, in the body",
            _changed(schema_version=99),
            RejectionReason.VERSION,
            "schema_version",
        ),
        (
            "37",
            "a version that is no number",
            _changed(schema_version="newest"),
            RejectionReason.VERSION,
            "schema_version",
        ),
    ):
        yield BadInput(row, name, make, reason, field, UNPROCESSABLE)
    for named in ("99", "0", "1.0", "one"):
        yield BadInput("37", f"version {named}, beside the body", Subject.purchase, RejectionReason.VERSION,
                       "schema_version", UNPROCESSABLE, schema_version=named)  # fmt: skip


def _out_of_range() -> Iterator[BadInput]:
    """A purchase with a value that can't be."""
    large = RejectionReason.RANGE
    for row, name, make, reason, field in (
        ("11", "negative amount", _changed(amount=-1), large, "amount"),
        ("11", "negative tenure", _changed(customer={"tenure_days": -1}), large, "customer.tenure_days"),
        ("11", "no instalments", _changed(installments={"count": 0}), large, "installments.count"),
        ("11", "instalments for life", _changed(installments={"count": 61}), large, "installments.count"),
        ("13", "half a cent", _changed(amount=10.005), RejectionReason.PRECISION, "amount"),
        ("13", "cents of yen", _changed(amount=10.5, currency="JPY"), RejectionReason.PRECISION, "amount"),
        ("14", "above the cap", _changed(amount=100_000.01), large, "amount"),
        ("14", "far above the cap", _changed(amount=1e300), large, "amount"),
        ("15", "beyond 2^53", _changed(customer={"tenure_days": 2**53 + 1}), large, ""),
        ("15", "beyond 2^64", _written('"price": 67.51', '"price": 18446744073709551616'), large, ""),
        ("15", "below -2^64", _fixed(b'{"a":-98765432109876543210987}'), large, ""),
        ("15", "in a list", _fixed(b'{"a":[1,98765432109876543210987]}'), large, ""),
        ("15", "a thousand digits", _written("384", "9" * 1000), large, ""),
        ("17", "an hour ahead", _at(3_600), RejectionReason.FUTURE, "occurred_at"),
        ("17", "a minute beyond what is allowed", _at(360), RejectionReason.FUTURE, "occurred_at"),
        ("19", "no zone", _changed(occurred_at="2026-06-01T00:06:06"), RejectionReason.TIMEZONE, "occurred_at"),
        ("21", "year 0001", _changed(occurred_at="0001-01-01T00:00:00Z"), RejectionReason.DATE, "occurred_at"),
        ("21", "year 9999", _changed(occurred_at="9999-01-01T00:00:00Z"), RejectionReason.DATE, "occurred_at"),
        ("21", "30 February", _changed(occurred_at="2026-02-30T00:00:00Z"), RejectionReason.DATE, "occurred_at"),
        ("21", "a 61st second", _changed(occurred_at="2026-02-03T00:00:61Z"), RejectionReason.DATE, "occurred_at"),
        ("21", "no time", _changed(occurred_at="yesterday"), RejectionReason.DATE, "occurred_at"),
        (
            "21",
            "digits of another script",
            _changed(occurred_at="٢٠٢٦-06-01T00:00:00Z"),
            RejectionReason.DATE,
            "occurred_at",
        ),
        ("35", "an unknown currency", _changed(currency="XXX"), RejectionReason.ENUM, "currency"),
        ("35", "a currency in small letters", _changed(currency="usd"), RejectionReason.ENUM, "currency"),
        ("35", "an unknown status", _changed(status="dreamt"), RejectionReason.ENUM, "status"),
    ):
        yield BadInput(row, name, make, reason, field, UNPROCESSABLE)


def _ids() -> Iterator[BadInput]:
    """Required fields, and what an id may look like."""
    for field in ("transaction_id", "customer_id", "occurred_at", "amount", "currency"):
        yield BadInput("24", f"{field} null", _changed(**{field: None}), RejectionReason.MISSING, field, UNPROCESSABLE)
        yield BadInput("24", f"{field} absent", _without(field), RejectionReason.MISSING, field, UNPROCESSABLE)
        yield BadInput("24", f"{field} blank", _changed(**{field: "  "}), RejectionReason.MISSING, field, UNPROCESSABLE)
    for row, name, value, reason in (
        ("25", "too long", "x" * 129, RejectionReason.LENGTH),
        ("26", "NUL", "a\x00b", RejectionReason.CONTROL),
        ("26", "a line break", "a\nb", RejectionReason.CONTROL),
        ("26", "an escape", "a\x1b[31mb", RejectionReason.CONTROL),
        ("26", "a C1 control", "é\x85b", RejectionReason.CONTROL),
        ("28", "not NFC", "e\u0301", RejectionReason.UNICODE),
        ("28", "zero width", "a\u200bb", RejectionReason.UNICODE),
        ("28", "bidirectional", "a\u202eb", RejectionReason.UNICODE),
        ("28", "a variation selector", "a\ufe0f", RejectionReason.UNICODE),
        ("28", "a blank that is a letter", "a\u3164", RejectionReason.UNICODE),
    ):
        for field in ("transaction_id", "customer_id", "event_id", "source"):
            yield BadInput(row, f"{field}: {name}", _changed(**{field: value}), reason, field, UNPROCESSABLE)
        yield BadInput(row, f"device.id: {name}", _changed(device={"id": value}), reason, "device.id", UNPROCESSABLE)


def _without(field: str) -> Make:
    def make(subject: Subject) -> bytes:
        body = json.loads(subject.purchase())
        del body[field]
        return json.dumps(body).encode()

    return make


def _odd() -> Iterator[BadInput]:
    """Accepted all the same."""
    for row, name, make, warning in (
        ("6", "byte-order mark", lambda s: b"\xef\xbb\xbf" + s.purchase(), InputWarning.BYTE_ORDER_MARK),
        ("12", "zero", _changed(amount=0), InputWarning.ZERO_AMOUNT),
        ("13", "rounding noise", _written("67.51,", "67.5100000001,"), InputWarning.ROUNDING),
        ("16", "negative zero", _written('"amount": 67.51', '"amount": -0.0'), InputWarning.NEGATIVE_ZERO),
        ("18", "a minute ahead", _at(60), InputWarning.SKEW),
        ("18", "as far ahead as is allowed", _at(300), InputWarning.SKEW),
        ("35", "an unknown category", _changed(product={"category": "toys"}), InputWarning.UNKNOWN_VALUE),
        ("36", "an unknown field", _changed(loyalty="gold"), InputWarning.EXTRA_FIELD),
        ("36", "an unknown field in a block", _changed(device={"battery": 7}), InputWarning.EXTRA_FIELD),
    ):
        yield BadInput(row, name, make, warnings=frozenset({warning}))
    yield BadInput("29", "emoji", _changed(product={"brand": "🛒 ok"}))
    yield BadInput("19", "another zone", lambda s: s.purchase(occurred_at=s.after(-5 * 3_600)[:-1] + "-04:00"))
    yield BadInput("37", "the version of today", Subject.purchase, schema_version="1")
    for text in TEXTS:
        yield BadInput("42", f"free text: {text.split()[0]}", _changed(product={"brand": text}))
        if text.isprintable():
            yield BadInput("42", f"an id: {text.split()[0]}", _changed(transaction_id=text))


PURCHASES: tuple[BadInput, ...] = (*_malformed(), *_misshapen(), *_out_of_range(), *_ids(), *_odd())
