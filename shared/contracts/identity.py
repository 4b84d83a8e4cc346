"""Who an event is: its id, its customer, its moment, its partition.

Sources restart their counters, so no id of theirs is unique for long. `event_id` is: it is a hash over the source (with
its run), the source's own ids and the moment.
"""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime, timedelta

SEPARATOR = "\x1f"
"""Unit separator: refused inside ids as a control character, so joined parts can't be confused."""

EVENT_ID_HEX_DIGITS = 32
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_LATEST_MS = 253_402_300_799_000
"""The end of the year 9999, the last that has a name."""


def event_id(source: str, transaction_id: str, customer_id: str, occurred_at: str) -> str:
    """First 32 hex digits of SHA-256 over the four parts; `occurred_at` in canonical form."""
    joined = SEPARATOR.join((source, transaction_id, customer_id, occurred_at))
    return hashlib.sha256(joined.encode()).hexdigest()[:EVENT_ID_HEX_DIGITS]


def canonical_time(moment: datetime) -> str:
    """`2026-06-01T00:06:06.000000Z`. Raises ValueError for a naive time: nobody may guess a zone here."""
    if moment.tzinfo is None:
        raise ValueError("a time without a zone has no canonical form")
    return moment.astimezone(UTC).isoformat(timespec="microseconds").removesuffix("+00:00") + "Z"


def epoch_micros(canonical: str) -> int:
    """Microseconds since 1970 of a time in canonical form (or any ISO 8601 time with a zone)."""
    return (datetime.fromisoformat(canonical) - EPOCH) // _MICROSECOND


def from_epoch_micros(micros: int) -> str:
    """The canonical form of a moment given in microseconds since 1970."""
    return canonical_time(EPOCH + timedelta(microseconds=micros))


def from_record_timestamp(timestamp_ms: int) -> str:
    """The canonical form of a Kafka record's timestamp, milliseconds since 1970, moved into the years that have a name:
    a producer's own clock may say anything that fits into 64 bits."""
    return from_epoch_micros(min(max(timestamp_ms, 0), _LATEST_MS) * 1000)


def partition_of(key: bytes, partitions: int) -> int:
    """The partition of a key, as Kafka's Java client places it: positive murmur2 of the key, modulo the count."""
    return (murmur2(key) & 0x7FFFFFFF) % partitions


def murmur2(data: bytes) -> int:
    """32-bit murmur2 with Kafka's seed (0x9747b28c), unsigned. Formula: Austin Appleby, MurmurHash2."""
    mask, m = 0xFFFFFFFF, 0x5BD1E995
    length = len(data)
    h = 0x9747B28C ^ length
    end = length & ~3
    for i in range(0, end, 4):
        k = int.from_bytes(data[i : i + 4], "little") * m & mask
        k = (k ^ (k >> 24)) * m & mask
        h = (h * m & mask) ^ k
    rest = length & 3
    if rest:
        h = (h ^ int.from_bytes(data[end:], "little")) * m & mask
    h = (h ^ (h >> 13)) * m & mask
    return h ^ (h >> 15)
