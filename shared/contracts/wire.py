"""Bytes to a JSON object, strictly: the first half of the decoder that both doors share.

Fast path: orjson, plus proofs on the raw bytes that nothing was let through that orjson tolerates. Whatever fails there
goes through a slow path that finds out which rule was broken, and says so.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, NoReturn

import msgspec
import orjson

from shared.contracts.rejections import MALFORMED, TOO_LARGE, InputWarning, Rejection, RejectionReason

BYTE_ORDER_MARK = b"\xef\xbb\xbf"
MAX_DEPTH = 20
MAX_KEYS = 200
MAX_TEXT_LENGTH = 4096
MAX_EXACT_INTEGER = 2**53
"""Beyond it a double can't hold every integer, so readers in other languages would see another number."""

JsonObject = dict[str, Any]

_SURROGATE_ESCAPE = re.compile(rb"\\u[dD][89a-fA-F]")
_KEY_END = b'":'
BEYOND_64_BITS = 2.0**63
"""From here on a float may have been an integer: orjson gives one for what 64 bits don't hold."""


@dataclass(frozen=True, slots=True)
class Document:
    """A JSON object within the limits, and what was odd about its bytes."""

    body: JsonObject
    warnings: tuple[InputWarning, ...]


UNREADABLE = (msgspec.MsgspecError, UnicodeError, RecursionError)
"""What decoding bytes of anybody's into a type may raise: text that is no UTF-8 and what is nested without end aren't
msgspec's own errors."""


def text_of(raw: bytes, expected: str) -> tuple[bytes, tuple[InputWarning, ...]]:
    """A document without the mark that some editors put before it. Raises `Rejection` (empty)."""
    warnings: tuple[InputWarning, ...] = ()
    if raw.startswith(BYTE_ORDER_MARK):
        raw, warnings = raw[len(BYTE_ORDER_MARK) :], (InputWarning.BYTE_ORDER_MARK,)
    if not raw.strip():
        raise Rejection(RejectionReason.EMPTY, "", expected, status=MALFORMED)
    return raw, warnings


def parse_object(raw: bytes | None, *, max_bytes: int) -> Document:
    """Parse one JSON object.

    Raises `Rejection`: tombstone (None), empty, size, utf8, syntax, nonfinite, range (1e400, integers beyond 2^53),
    duplicate-key, unicode (lone surrogate), depth, shape (not an object, more than 200 keys).
    """
    if raw is None:
        raise Rejection(RejectionReason.TOMBSTONE, "", "a JSON object, not a null value")
    if len(raw) > max_bytes:
        raise Rejection(RejectionReason.SIZE, "", f"at most {max_bytes} bytes, got {len(raw)}", status=TOO_LARGE)
    raw, warnings = text_of(raw, "a JSON object")
    try:
        body = orjson.loads(raw)
    except orjson.JSONDecodeError:
        _explain(raw)
    if not isinstance(body, dict):
        raise Rejection(RejectionReason.SHAPE, "", "a JSON object at the top level")
    # No text has more characters than the record has bytes.
    keys, vast = _measure(body, long_texts=len(raw) > MAX_TEXT_LENGTH)
    # Each key ends in `":` unless white space stands between; strings can only add to the count. So equal counts prove
    # that the parser dropped no key, and anything else is looked at closely.
    if (
        vast
        or raw.count(_KEY_END) != keys
        or b" :" in raw
        or b"\t:" in raw
        or b"\n:" in raw
        or b"\r:" in raw
        or _SURROGATE_ESCAPE.search(raw)
    ):
        _explain(raw, only_if_broken=True)
    return Document(body, warnings)


def _measure(body: JsonObject, *, long_texts: bool) -> tuple[int, bool]:
    """The keys of all objects in `body`, counted, and whether one of its numbers is a float that may have been an
    integer. Raises for depth, keys, texts and integers beyond the limits. `long_texts`: whether there may be any."""
    keys, vast = 0, False
    level: list[Any] = [body]
    for depth in range(1, MAX_DEPTH + 2):
        if depth > MAX_DEPTH:
            raise Rejection(RejectionReason.DEPTH, "", f"nesting of at most {MAX_DEPTH}", status=MALFORMED)
        below: list[Any] = []
        for container in level:
            if type(container) is dict:
                keys += len(container)
                if long_texts and container and max(map(len, container)) > MAX_TEXT_LENGTH:
                    raise _too_long()
                values: Iterable[Any] = container.values()
            else:
                values = container
            for value in values:
                kind = type(value)
                if kind is str:
                    if long_texts and len(value) > MAX_TEXT_LENGTH:
                        raise _too_long()
                elif kind is dict or kind is list:
                    below.append(value)
                elif kind is int and not -MAX_EXACT_INTEGER <= value <= MAX_EXACT_INTEGER:
                    raise Rejection(RejectionReason.RANGE, "", "integers within ±2^53")
                elif kind is float and not -BEYOND_64_BITS < value < BEYOND_64_BITS:
                    vast = True
        if not below:
            break
        level = below
    if keys > MAX_KEYS:
        raise Rejection(RejectionReason.SHAPE, "", f"at most {MAX_KEYS} keys, got {keys}")
    return keys, vast


def _too_long() -> Rejection:
    return Rejection(
        RejectionReason.SIZE, "", f"keys and texts of at most {MAX_TEXT_LENGTH} characters", status=TOO_LARGE
    )


class _DuplicateKey(Exception):
    pass


class _NonFinite(Exception):
    pass


class _OutOfRange(Exception):
    pass


def _explain(raw: bytes, *, only_if_broken: bool = False) -> Any:
    """Find the rule that `raw` breaks and raise it. With `only_if_broken`, return quietly where it breaks none."""
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise Rejection(RejectionReason.UTF8, "", f"UTF-8 (broken at byte {error.start})", status=MALFORMED) from None
    if _nesting(text) > MAX_DEPTH:
        raise Rejection(RejectionReason.DEPTH, "", f"nesting of at most {MAX_DEPTH}", status=MALFORMED)
    try:
        parsed = json.loads(
            text,
            object_pairs_hook=_refuse_duplicates,
            parse_constant=_refuse_constant,
            parse_float=_finite,
            parse_int=_exact_integer,
        )
    except _DuplicateKey as error:
        raise Rejection(RejectionReason.DUPLICATE_KEY, str(error), "each key once", status=MALFORMED) from None
    except _NonFinite as error:
        raise Rejection(RejectionReason.NONFINITE, "", f"finite numbers, got {error}", status=MALFORMED) from None
    except _OutOfRange as error:
        raise Rejection(RejectionReason.RANGE, "", "numbers that a double can hold", status=int(str(error))) from None
    except json.JSONDecodeError as error:
        raise Rejection(
            RejectionReason.SYNTAX, "", f"one JSON value ({error.msg} at {error.pos})", status=MALFORMED
        ) from None
    if _has_lone_surrogate(parsed):
        raise Rejection(RejectionReason.UNICODE, "", "no lone surrogates", status=MALFORMED)
    if not only_if_broken:
        raise Rejection(RejectionReason.SYNTAX, "", "JSON as RFC 8259 writes it", status=MALFORMED)
    return parsed


def _nesting(text: str) -> int:
    """Greatest depth of brackets outside of strings: known before a recursive parser sees the text."""
    deepest = depth = 0
    inside = escaped = False
    for char in text:
        if inside:
            if escaped:
                escaped = False
            elif char == "\\":
                escaped = True
            elif char == '"':
                inside = False
        elif char == '"':
            inside = True
        elif char in "[{":
            depth += 1
            deepest = max(deepest, depth)
        elif char in "]}":
            depth -= 1
    return deepest


def _refuse_duplicates(pairs: list[tuple[str, Any]]) -> JsonObject:
    body: JsonObject = {}
    for key, value in pairs:
        if key in body:
            # A lone surrogate may stand in a key, and couldn't be written into the dead letter.
            raise _DuplicateKey(key[:64].encode("utf-8", "replace").decode())
        body[key] = value
    return body


def _refuse_constant(name: str) -> NoReturn:
    raise _NonFinite(name)


def _finite(digits: str) -> float:
    value = float(digits)
    if math.isinf(value):
        raise _OutOfRange(MALFORMED)
    return value


def _exact_integer(digits: str) -> int:
    # Length first: turning a million digits into an integer is a denial of service of its own.
    if len(digits) > 17 or not -MAX_EXACT_INTEGER <= int(digits) <= MAX_EXACT_INTEGER:
        raise _OutOfRange(422)
    return int(digits)


def _has_lone_surrogate(value: Any) -> bool:
    if isinstance(value, str):
        return any(0xD800 <= ord(char) <= 0xDFFF for char in value)
    if isinstance(value, dict):
        return any(_has_lone_surrogate(key) or _has_lone_surrogate(item) for key, item in value.items())
    if isinstance(value, list):
        return any(_has_lone_surrogate(item) for item in value)
    return False
