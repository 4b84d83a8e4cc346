"""The second half of the decoder: a JSON object to a `Transaction`, or the rule that it breaks.

REST and every Kafka consumer call `decode_transaction`; there is no other way into the system.
"""

from __future__ import annotations

import hashlib
import math
import re
import unicodedata
from collections.abc import Set
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any, TypeVar

import msgspec

from shared.contracts import enumerations, identity, money, versions
from shared.contracts.events import Transaction
from shared.contracts.rejections import InputWarning, Rejection, RejectionReason
from shared.contracts.versions import Versions
from shared.contracts.wire import JsonObject, parse_object

MAX_ID_LENGTH = 128
REQUIRED = ("transaction_id", "customer_id", "occurred_at", "amount", "currency")
BLOCKS = ("installments", "customer", "product", "device", "payment", "checkout", "source_scores")
IDS = (("transaction_id",), ("customer_id",), ("event_id",), ("source",), ("product", "id"), ("device", "id"),
       ("payment", "method_id"))  # fmt: skip
_IDS_ON_TOP = tuple(path[0] for path in IDS if len(path) == 1)
_IDS_IN_BLOCKS = tuple((path[0], path[1], ".".join(path)) for path in IDS if len(path) == 2)
"""Block, field, and both as a rejection names them."""
NOT_NEGATIVE = (
    ("installments", "first_payment_amount"), ("customer", "tenure_days"), ("product", "price"),
    ("payment", "credit_limit"), ("payment", "credit_utilization"), ("checkout", "cart_abandonment_count"),
    ("checkout", "price_comparison_time"), ("checkout", "time_on_site_seconds"),
)  # fmt: skip
MAX_INSTALLMENTS = 60
LABELS = frozenset({"will_default", "days_to_first_missed_payment", "defaulted"})
"""Never in a transaction: a label that travels with the purchase would leak into features."""

_TIME = re.compile(
    r"^(\d{4})-(\d{2})-(\d{2})[T ](\d{2}):(\d{2}):(\d{2})(?:\.(\d{1,9}))?(Z|z|[+-]\d{2}:?\d{2})?$", re.ASCII
)
_INVISIBLE = re.compile(
    "[\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u2028-\u202e\u2060-\u206f\u3164\ufe00-\ufe0f"
    "\ufeff\uffa0\ufff0-\ufffb\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff]"
)
"""What Unicode calls default-ignorable (DerivedCoreProperties), and its line and annotation marks: an id that holds one
looks like another id."""
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f]")
_KNOWN_FIELDS: dict[str, frozenset[str]] = {
    name: frozenset(field.name for field in msgspec.structs.fields(enumerations.BLOCK_TYPES[name])) for name in BLOCKS
}
_TOP_LEVEL = frozenset(field.name for field in msgspec.structs.fields(Transaction)) | {versions.BODY_FIELD}
_DEFAULTED = frozenset({"event_id", "source", "status"})
"""Fields that are filled in where they are absent; null counts as absent."""
_MICROS_PER_SECOND = 1_000_000
_MICROSECOND = timedelta(microseconds=1)
CANONICAL_LENGTH = len("2026-06-01T00:06:06.000000Z")
"""Of a time that matches `_TIME`, only the canonical form is so long and ends in Z with a T in the middle."""
FIRST_YEAR, LAST_YEAR = 1970, 2200
"""Outside of these a time is a placeholder or a slip, not a moment of a purchase."""
LONGEST_AGO_DAYS, LONGEST_AHEAD_DAYS = 1300, 360
"""From when a record came. BigQuery takes rows that are streamed into a table by days from 1,825 days back to 366 days
ahead, and refuses all others for ever: one record beyond would hold up its partition's mirror. What is left of the
five years is for records that are mirrored again as long as the log holds them (400 days), and whose own time is as old
as a broker lets it be (100 days, `shared.kafka.admin`)."""
_DAY_US = 86_400_000_000
_FIRST_US, _END_US = (
    (datetime(year, 1, 1, tzinfo=UTC) - identity.EPOCH) // _MICROSECOND for year in (FIRST_YEAR, LAST_YEAR + 1)
)

StructT = TypeVar("StructT", bound=msgspec.Struct)


class Door(StrEnum):
    """Where an input came in: its name is the default `source`."""

    TOPIC = "producer"
    REST = "rest"


@dataclass(frozen=True, slots=True)
class Limits:
    """What is still accepted; the defaults of the `LIMITS__` settings."""

    max_amount: float = 100_000.0
    max_body_bytes: int = 65_536
    max_future_seconds: int = 300
    max_lateness_seconds: int = 2_592_000


BY_LIMIT = frozenset({RejectionReason.RANGE, RejectionReason.SIZE, RejectionReason.FUTURE})
"""Refusals that other limits may not have made."""


@dataclass(frozen=True, slots=True)
class AcceptedTransaction:
    """A transaction within all rules, with what the pipelines need of it already taken apart."""

    transaction: Transaction
    occurred_us: int
    """Event time, microseconds since 1970."""
    amount_minor: int
    """Whole minor units of the currency."""
    fingerprint: bytes
    """16 bytes; equal for the same body of the same event, at either door."""
    warnings: tuple[InputWarning, ...]
    document: JsonObject
    """The object as it came, extra fields included, brought to the current version: what the warehouse keeps."""


def decode_transaction(
    raw: bytes | None,
    *,
    door: Door,
    received_us: int,
    limits: Limits,
    schema_version: str | None = None,
    known_versions: Versions = versions.TRANSACTION,
) -> AcceptedTransaction:
    """Decode one transaction of either door.

    `received_us`: when the record was stamped (Kafka) or came in (REST), microseconds since 1970: the clock that
    "in the future" is measured against, so that a replay of the log decides as the first reading did.
    `schema_version`: of the header; where there is none, the body's own field counts.
    Raises `Rejection` with the reason, field and expectation of the first rule broken.
    """
    if schema_version is not None:
        known_versions.check(schema_version)
    document = parse_object(raw, max_bytes=limits.max_body_bytes)
    warnings = list(document.warnings)
    named = document.body.get(versions.BODY_FIELD) if schema_version is None else schema_version
    version = known_versions.check(named)
    received = known_versions.upcast(document.body, version)
    if version < known_versions.current:
        warnings.append(InputWarning.OLD_VERSION)
    body = {name: value for name, value in received.items() if value is not None or name not in _DEFAULTED}
    for name in REQUIRED:
        _require(body, name)
    _check_ids(body)
    occurred_us = normalise_time(body, "occurred_at")
    ahead_us = occurred_us - received_us
    if ahead_us > limits.max_future_seconds * _MICROS_PER_SECOND:
        raise Rejection(
            RejectionReason.FUTURE, "occurred_at", f"at most {limits.max_future_seconds} s ahead of the clock"
        )
    if ahead_us > 0:
        warnings.append(InputWarning.SKEW)
    check_not_long_ago("occurred_at", ahead_us)
    _check_blocks(body, warnings)
    enumerations.normalise(body, warnings)
    amount_minor = _check_amount(body, limits, warnings)
    body.setdefault("source", door.value)
    if not body.get("event_id", "").strip():
        body["event_id"] = identity.event_id(
            body["source"], body["transaction_id"], body["customer_id"], body["occurred_at"]
        )
    transaction = convert(body, Transaction)
    return AcceptedTransaction(
        transaction=transaction,
        occurred_us=occurred_us,
        amount_minor=amount_minor,
        fingerprint=fingerprint(transaction),
        warnings=tuple(dict.fromkeys(warnings)),
        document=received,
    )


def check_not_long_ago(field: str, ahead_us: int) -> None:
    """`ahead_us`: of when its record came. Raises `Rejection` (date)."""
    if ahead_us < -LONGEST_AGO_DAYS * _DAY_US:
        raise Rejection(RejectionReason.DATE, field, f"at most {LONGEST_AGO_DAYS} days before it is sent")


def check_not_far_ahead(field: str, ahead_us: int) -> None:
    """Likewise, of what may lie ahead at all. Raises `Rejection` (future)."""
    if ahead_us > LONGEST_AHEAD_DAYS * _DAY_US:
        raise Rejection(RejectionReason.FUTURE, field, f"at most {LONGEST_AHEAD_DAYS} days after it is sent")


def fingerprint(transaction: Transaction) -> bytes:
    """16 bytes of BLAKE2b over all that the decision may depend on; the default `source` differs by door, so not it."""
    canonical = msgspec.json.encode(msgspec.structs.replace(transaction, source=""))
    return hashlib.blake2b(canonical, digest_size=16).digest()


def convert(body: JsonObject, kind: type[StructT]) -> StructT:
    """The object as the given struct; `Rejection` (type, missing) naming the field where it doesn't fit."""
    try:
        return msgspec.convert(body, kind, strict=True)
    except msgspec.ValidationError as error:
        message, _, path = str(error).partition(" - at `")
        field = path.rstrip("`").removeprefix("$.").removeprefix("$")
        missing = message.startswith("Object missing required field")
        reason = RejectionReason.MISSING if missing else RejectionReason.TYPE
        if missing:
            field = ".".join(filter(None, (field, message.split("`")[1])))
        elif message.startswith("Invalid enum value"):
            reason = RejectionReason.ENUM
        raise Rejection(reason, field, message) from None


def check_id(value: Any, field: str) -> None:
    """Ids are short, visible, normalised text: what looks the same must be the same."""
    if not isinstance(value, str):
        raise Rejection(RejectionReason.TYPE, field, "a string")
    if len(value) > MAX_ID_LENGTH:
        raise Rejection(RejectionReason.LENGTH, field, f"at most {MAX_ID_LENGTH} characters")
    if value.isascii():
        if not value.isprintable():
            raise Rejection(RejectionReason.CONTROL, field, "no control characters")
        return
    if _CONTROL.search(value):
        raise Rejection(RejectionReason.CONTROL, field, "no control characters")
    if _INVISIBLE.search(value) or not unicodedata.is_normalized("NFC", value):
        raise Rejection(RejectionReason.UNICODE, field, "NFC text without invisible or bidirectional characters")


def normalise_time(body: JsonObject, name: str) -> int:
    """Put the canonical form of the time in `body[name]` in its place; give its microseconds since 1970."""
    value = body[name]
    if not isinstance(value, str):
        raise Rejection(RejectionReason.TYPE, name, "an ISO 8601 time as a string")
    match = _TIME.match(value)
    if match is None:
        raise Rejection(RejectionReason.DATE, name, "an ISO 8601 time such as 2026-06-01T00:06:06Z")
    if match.group(8) is None:
        raise Rejection(RejectionReason.TIMEZONE, name, "a time with its zone, such as a final Z")
    if not FIRST_YEAR <= int(match.group(1)) <= LAST_YEAR:
        raise Rejection(RejectionReason.DATE, name, f"a year from {FIRST_YEAR} to {LAST_YEAR}")
    try:
        moment = datetime.fromisoformat(value.upper())
    except ValueError as error:
        raise Rejection(RejectionReason.DATE, name, f"a day and time that exist ({error})") from None
    since_us = (moment - identity.EPOCH) // _MICROSECOND
    if not _FIRST_US <= since_us < _END_US:  # in UTC, as everybody reads it who comes later
        raise Rejection(RejectionReason.DATE, name, f"a year from {FIRST_YEAR} to {LAST_YEAR} in UTC")
    if len(value) != CANONICAL_LENGTH or value[-1] != "Z" or value[10] != "T":
        body[name] = identity.canonical_time(moment)
    return since_us


def _require(body: JsonObject, name: str) -> None:
    value = body.get(name)
    if value is None or (isinstance(value, str) and not value.strip()):
        raise Rejection(RejectionReason.MISSING, name, "a value that is neither null nor blank")


def _check_ids(body: JsonObject) -> None:
    for name in _IDS_ON_TOP:
        value = body.get(name)
        if value is not None:
            check_id(value, name)
    for block, name, path in _IDS_IN_BLOCKS:
        holder = body.get(block)
        if isinstance(holder, dict):
            value = holder.get(name)
            if value is not None:
                check_id(value, path)


def _check_blocks(body: JsonObject, warnings: list[InputWarning]) -> None:
    if not _TOP_LEVEL.issuperset(body):
        _refuse_labels(body.keys() - _TOP_LEVEL, "")
        warnings.append(InputWarning.EXTRA_FIELD)
    for name in BLOCKS:
        block = body.get(name)
        if not isinstance(block, dict):
            continue  # absent, or of a wrong type, which the conversion names
        if not _KNOWN_FIELDS[name].issuperset(block):
            _refuse_labels(block.keys() - _KNOWN_FIELDS[name], f"{name}.")
            warnings.append(InputWarning.EXTRA_FIELD)
        body[name] = dict(block)
    for block_name, field in NOT_NEGATIVE:
        block = body.get(block_name)
        value = block.get(field) if isinstance(block, dict) else None
        if isinstance(value, int | float) and value < 0:
            raise Rejection(RejectionReason.RANGE, f"{block_name}.{field}", "no negative number")
    installments = body.get("installments")
    count = installments.get("count") if isinstance(installments, dict) else None
    if isinstance(count, int) and not isinstance(count, bool) and not 1 <= count <= MAX_INSTALLMENTS:
        raise Rejection(RejectionReason.RANGE, "installments.count", f"1 to {MAX_INSTALLMENTS}")


def _refuse_labels(names: Set[str], path: str) -> None:
    for name in sorted(names & LABELS):
        raise Rejection(RejectionReason.SHAPE, path + name, "no label in a transaction: it belongs to bnpl-outcomes")


def _check_amount(body: JsonObject, limits: Limits, warnings: list[InputWarning]) -> int:
    amount = body["amount"]
    if isinstance(amount, bool) or not isinstance(amount, int | float):
        raise Rejection(RejectionReason.TYPE, "amount", "a number")
    if amount < 0:
        raise Rejection(RejectionReason.RANGE, "amount", "zero or more")
    if amount > limits.max_amount:
        raise Rejection(RejectionReason.RANGE, "amount", f"at most {limits.max_amount:g}")
    currency = body["currency"]
    try:
        minor, noisy = money.minor_units(amount, currency)
    except money.TooPrecise as error:
        raise Rejection(RejectionReason.PRECISION, "amount", str(error)) from None
    if noisy:
        warnings.append(InputWarning.ROUNDING)
    if minor == 0:
        warnings.append(InputWarning.NEGATIVE_ZERO if math.copysign(1.0, amount) < 0 else InputWarning.ZERO_AMOUNT)
    body["amount"] = money.major_units(minor, currency)
    return minor
