"""Why an input was refused, or accepted with a warning.

Rejection                the input can never be accepted: one dead letter, or one problem+json; never retried
  .reason: RejectionReason   stable code, the same at both doors
  .field                     path of the field, '' where the whole input is meant
  .expected                  what would have been accepted
  .status                    the HTTP status of the REST door
"""

from __future__ import annotations

from enum import StrEnum


class RejectionReason(StrEnum):
    SYNTAX = "syntax"
    EMPTY = "empty"
    TOMBSTONE = "tombstone"
    SHAPE = "shape"
    UTF8 = "utf8"
    NONFINITE = "nonfinite"
    RANGE = "range"
    TYPE = "type"
    PRECISION = "precision"
    FUTURE = "future"
    TIMEZONE = "timezone"
    DATE = "date"
    DUPLICATE_KEY = "duplicate-key"
    MISSING = "missing"
    LENGTH = "length"
    CONTROL = "control"
    UNICODE = "unicode"
    SIZE = "size"
    DEPTH = "depth"
    ENUM = "enum"
    VERSION = "version"
    KEY = "key"
    CONFLICT = "conflict"


class InputWarning(StrEnum):
    """Accepted all the same, and counted in `flit_input_warnings_total{rule}`."""

    BYTE_ORDER_MARK = "byte-order-mark"
    ZERO_AMOUNT = "zero-amount"
    ROUNDING = "rounding"
    NEGATIVE_ZERO = "negative-zero"
    SKEW = "skew"
    LATE = "late"
    UNKNOWN_VALUE = "unknown-value"
    EXTRA_FIELD = "extra-field"
    OLD_VERSION = "old-version"
    PARTITION = "partition"


MALFORMED = 400
"""Status of an input that isn't even JSON as RFC 8259 and our limits on it want."""
UNPROCESSABLE = 422
TOO_LARGE = 413


class Rejection(Exception):
    """A terminal refusal: sending the same input again gives the same answer."""

    def __init__(self, reason: RejectionReason, field: str, expected: str, *, status: int = UNPROCESSABLE) -> None:
        super().__init__(f"{reason.value}: {field or 'input'}: {expected}")
        self.reason = reason
        self.field = field
        self.expected = expected
        self.status = status
