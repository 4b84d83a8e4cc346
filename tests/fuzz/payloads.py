"""Payloads that no sane producer sends, made from ones that it does: by structure, by token, by byte."""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Callable, Sequence
from typing import Any

from tests import factories
from tests.bad_inputs.outcomes import OUTCOMES
from tests.bad_inputs.purchases import PURCHASES
from tests.bad_inputs.rows import Subject
from tests.unit.ingestor.recorded import lines

VALUES: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 3.99, -0.0, 5e-324, 1e308, 2**53, 2**53 + 1, -(2**63), 2**64, 10**30, "", " ",
    "x" * 129, "x" * 4097, "12", "NaN", "a\x00b", "a\nb", "\u202e", "\u200b", "e\u0301", "é", "🛒", [], {}, [[]],
    {"": {}}, [None, {}], "2026-06-01T00:00:00Z", "2026-06-01T00:00:00", "0001-01-01T00:00:00Z", "9999-12-31T23:59:60Z",
    "2026-02-30T00:00:00Z", "2026-06-01T00:00:00.1234567890Z", "2026-06-01 00:00:00+99:99",
    "USD", "usd", "XXX", "JPY", "completed", "dreamt",
)  # fmt: skip
TOKENS: tuple[bytes, ...] = (
    b"NaN", b"-Infinity", b"1e400", b"-0.0", b"1E+2", b"0x10", b"01", b"1.", b"+1", b"'a'", b"undefined", b'"\\ud800"',
    b'"\\uDFFFx"', b'"\\u0000"', b'"\xff"', b'"\xc0\xaf"', b"9" * 400, b"0." + b"1" * 400, b"[" * 30, b'{"a":' * 25,
    b"//x",
)  # fmt: skip
PIECES: tuple[bytes, ...] = (
    b"\xef\xbb\xbf", b"\x00", b"\xff\xfe", b"data: ", b"\n\n", b"{}", b"[]", b",", b":", b'"', b"\\", b"\r\n",
    b"\x1f\x8b",
)  # fmt: skip


def seeds() -> list[bytes]:
    """Ordinary events, as often as all others; the catalogue of bad inputs; lines that the real source sent."""
    subject = Subject()
    bad = len(PURCHASES) + len(OUTCOMES)
    return [
        *[subject.purchase()] * bad,
        *[subject.outcome()] * (bad // 10),
        *(bad.make(subject) for bad in (*PURCHASES, *OUTCOMES)),
        *(line.raw for line in lines("outliers-500")[:100]),
    ]


class Mutator:
    """Changes a payload, by a few steps each of which is drawn by the dice."""

    def __init__(self, dice: random.Random) -> None:
        self._dice = dice
        self._by_structure: Sequence[Callable[[dict[str, Any]], None]] = (
            self._replace, self._replace, self._replace, self._drop, self._add, self._rename, self._nest,
        )  # fmt: skip
        self._by_bytes: Sequence[Callable[[bytes], bytes]] = (
            self._token, self._token, self._flip, self._cut, self._insert, self._double,
        )  # fmt: skip

    def mutate(self, raw: bytes) -> bytes:
        """Mostly still JSON; else broken by some bytes."""
        body = _object(raw)
        if body is not None and self._dice.random() < 0.8:
            for _ in range(self._dice.choice((1, 1, 2, 4))):
                self._dice.choice(self._by_structure)(body)
            raw = _text(body)
            if self._dice.random() < 0.7:
                return raw
        for _ in range(self._dice.choice((1, 1, 2, 8))):
            raw = self._dice.choice(self._by_bytes)(raw)
        return raw

    def _place(self, body: dict[str, Any]) -> tuple[dict[str, Any], str | None]:
        """An object somewhere inside, and one of its keys."""
        inner = [value for value in body.values() if isinstance(value, dict) and value]
        chosen = self._dice.choice(inner) if inner and self._dice.random() < 0.6 else body
        return chosen, self._dice.choice(list(chosen)) if chosen else None

    def _replace(self, body: dict[str, Any]) -> None:
        place, key = self._place(body)
        if key is not None:
            place[key] = self._value(place[key])

    def _value(self, old: Any) -> Any:
        if type(old) in (int, float) and abs(old) < 1e15 and self._dice.random() < 0.5:
            return old * self._dice.choice((-1, 10, 1e6, 1e-9, 1 + 1e-9, 1.001))
        if isinstance(old, str) and old and self._dice.random() < 0.4:
            at = self._dice.randrange(len(old))
            return old[:at] + self._dice.choice(("\u200d", "\x7f", "ß", "\ufeff", "9", "-")) + old[at + 1 :]
        return self._odd()

    def _odd(self) -> Any:
        return copy.deepcopy(self._dice.choice(VALUES))

    def _drop(self, body: dict[str, Any]) -> None:
        place, key = self._place(body)
        if key is not None:
            del place[key]

    def _add(self, body: dict[str, Any]) -> None:
        place, _ = self._place(body)
        count = self._dice.choice((1, 1, 1, 250))
        for number in range(count):
            place[f"{self._dice.choice(('x', 'will_default', 'ключ', ' '))}{number or ''}"] = self._odd()

    def _rename(self, body: dict[str, Any]) -> None:
        place, key = self._place(body)
        if key is not None:
            place[self._dice.choice((key.upper(), key + " ", "\u200b" + key, "schema_version"))] = place.pop(key)

    def _nest(self, body: dict[str, Any]) -> None:
        place, key = self._place(body)
        if key is not None:
            for _ in range(self._dice.choice((1, 3, 25))):
                place[key] = [place[key]] if self._dice.random() < 0.5 else {key: place[key]}

    def _token(self, raw: bytes) -> bytes:
        """In place of a value."""
        colons = [at for at, byte in enumerate(raw) if byte == ord(":")]
        if not colons:
            return raw + self._dice.choice(TOKENS)
        begin = self._dice.choice(colons) + 1
        end = min((at for at in (raw.find(b",", begin), raw.find(b"}", begin)) if at > 0), default=len(raw))
        return raw[:begin] + self._dice.choice(TOKENS) + raw[end:]

    def _flip(self, raw: bytes) -> bytes:
        if not raw:
            return b"\x00"
        at = self._dice.randrange(len(raw))
        return raw[:at] + bytes([raw[at] ^ (1 << self._dice.randrange(8))]) + raw[at + 1 :]

    def _cut(self, raw: bytes) -> bytes:
        begin, end = sorted((self._dice.randint(0, len(raw)), self._dice.randint(0, len(raw))))
        return raw[:begin] + raw[end:] if self._dice.random() < 0.5 else raw[:end]

    def _insert(self, raw: bytes) -> bytes:
        at = self._dice.randint(0, len(raw))
        return raw[:at] + self._dice.choice(PIECES) + raw[at:]

    def _double(self, raw: bytes) -> bytes:
        """Keys twice, among other things."""
        begin, end = sorted((self._dice.randint(0, len(raw)), self._dice.randint(0, len(raw))))
        return raw[:end] + raw[begin:]


def fresh_purchase(number: int, now_us: int, prefix: str = "fuzz", customers: int = 200) -> tuple[str, bytes]:
    """Customer and body of a good purchase that nobody else makes."""
    customer = f"{prefix}-{number % customers}"
    body = factories.transaction(number, t_us=now_us, event_id=f"{prefix}-{number}", customer_id=customer)
    return customer, json.dumps(body).encode()


def fresh_outcome(number: int, now_us: int, prefix: str = "fuzz", customers: int = 200) -> tuple[str, bytes]:
    customer = f"{prefix}-{number % customers}"
    body = factories.outcome(number, observed_us=now_us, event_id=f"{prefix}-{number}", customer_id=customer)
    return customer, json.dumps(body).encode()


def _object(raw: bytes) -> dict[str, Any] | None:
    try:
        body = json.loads(raw.removeprefix(b"data: "))
    except (ValueError, RecursionError):
        return None
    return body if isinstance(body, dict) else None


def _text(body: dict[str, Any]) -> bytes:
    return json.dumps(body, ensure_ascii=False).encode("utf-8", "surrogatepass")
