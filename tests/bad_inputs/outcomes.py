"""Bad outcomes: the same rules, as far as an outcome has what they are about."""

from __future__ import annotations

from typing import Any

from shared.contracts.rejections import MALFORMED, TOO_LARGE, UNPROCESSABLE, InputWarning, RejectionReason
from tests.bad_inputs.rows import BadInput, Make, Subject


def _changed(**changes: Any) -> Make:
    return lambda subject: subject.outcome(**changes)


def _fixed(raw: bytes) -> Make:
    return lambda subject: raw


_DAYS = "days_to_first_missed_payment"
_REFUSED: tuple[tuple[str, str, Make, RejectionReason, str, int], ...] = (
    ("1", "malformed", _fixed(b'{"a": }'), RejectionReason.SYNTAX, "", MALFORMED),
    ("1", "cut in the middle", lambda s: s.outcome()[:60], RejectionReason.SYNTAX, "", MALFORMED),
    ("2", "empty", _fixed(b""), RejectionReason.EMPTY, "", MALFORMED),
    ("4", "a list", lambda s: b"[" + s.outcome() + b"]", RejectionReason.SHAPE, "", UNPROCESSABLE),
    ("5", "not UTF-8", _fixed(b'{"event_id": "\xff"}'), RejectionReason.UTF8, "", MALFORMED),
    ("7", "NaN", lambda s: s.outcome_with(f'"{_DAYS}": null', f'"{_DAYS}": NaN'), RejectionReason.NONFINITE, "",
     MALFORMED),
    ("8", "1e400", lambda s: s.outcome_with(f'"{_DAYS}": null', f'"{_DAYS}": 1e400'), RejectionReason.RANGE, "",
     MALFORMED),
    ("9", "number as defaulted", _changed(defaulted=1), RejectionReason.TYPE, "defaulted", UNPROCESSABLE),
    ("9", "a fraction as days", _changed(**{_DAYS: 14.0}), RejectionReason.TYPE, _DAYS, UNPROCESSABLE),
    ("9", "true as days", _changed(**{_DAYS: True}), RejectionReason.TYPE, _DAYS, UNPROCESSABLE),
    ("10", "days as text", _changed(**{_DAYS: "14"}), RejectionReason.TYPE, _DAYS, UNPROCESSABLE),
    ("11", "negative days", _changed(**{_DAYS: -1}), RejectionReason.RANGE, _DAYS, UNPROCESSABLE),
    ("15", "beyond 2^53", _changed(**{_DAYS: 2**53 + 1}), RejectionReason.RANGE, "", UNPROCESSABLE),
    ("15", "a thousand digits", lambda s: s.outcome_with(f'"{_DAYS}": null', f'"{_DAYS}": ' + "9" * 1000),
     RejectionReason.RANGE, "", UNPROCESSABLE),
    ("19", "no zone", _changed(observed_at="2026-06-01T00:06:06"), RejectionReason.TIMEZONE, "observed_at",
     UNPROCESSABLE),
    ("20", "seconds since 1970", _changed(observed_at=1_780_272_366), RejectionReason.TYPE, "observed_at",
     UNPROCESSABLE),
    ("21", "30 February", _changed(observed_at="2026-02-30T00:00:00Z"), RejectionReason.DATE, "observed_at",
     UNPROCESSABLE),
    ("23", "a key twice", lambda s: s.outcome_with('"defaulted":', '"defaulted": true, "defaulted":'),
     RejectionReason.DUPLICATE_KEY, "defaulted", MALFORMED),
    ("24", "no event", _changed(event_id=None), RejectionReason.MISSING, "event_id", UNPROCESSABLE),
    ("24", "a blank customer", _changed(customer_id=" "), RejectionReason.MISSING, "customer_id", UNPROCESSABLE),
    ("24", "not said whether defaulted", _changed(defaulted=None), RejectionReason.MISSING, "defaulted",
     UNPROCESSABLE),
    ("24", "not said when", _changed(observed_at=None), RejectionReason.MISSING, "observed_at", UNPROCESSABLE),
    ("25", "a long id", _changed(event_id="x" * 129), RejectionReason.LENGTH, "event_id", UNPROCESSABLE),
    ("26", "NUL", _changed(event_id="a\x00b"), RejectionReason.CONTROL, "event_id", UNPROCESSABLE),
    ("27", "half a surrogate pair", _fixed(b'{"event_id": "\\ud800"}'), RejectionReason.UNICODE, "", MALFORMED),
    ("28", "zero width", _changed(event_id="a\u200bb"), RejectionReason.UNICODE, "event_id", UNPROCESSABLE),
    ("30", "a text too long", _changed(note="x" * 4097), RejectionReason.SIZE, "", TOO_LARGE),
    ("33", "too deep", _fixed(b'{"a":' * 21 + b"1" + b"}" * 21), RejectionReason.DEPTH, "", MALFORMED),
    ("34", "too many keys", _changed(**{f"k{i}": 1 for i in range(201)}), RejectionReason.SHAPE, "", UNPROCESSABLE),
    ("37", "a version to come, in the body", _changed(schema_version=99), RejectionReason.VERSION, "schema_version",
     UNPROCESSABLE),
)  # fmt: skip

OUTCOMES: tuple[BadInput, ...] = (
    *(BadInput(*row) for row in _REFUSED),
    BadInput("37", "a version to come, beside the body", Subject.outcome, RejectionReason.VERSION, "schema_version",
             UNPROCESSABLE, schema_version="99"),
    BadInput("6", "byte-order mark", lambda s: b"\xef\xbb\xbf" + s.outcome(),
             warnings=frozenset({InputWarning.BYTE_ORDER_MARK})),
    BadInput("36", "an unknown field", _changed(collector="x"), warnings=frozenset({InputWarning.EXTRA_FIELD})),
)  # fmt: skip
