"""Record batches written byte by byte (Kafka's format, version 2), so that they can be broken where a client can't.

Layout after https://kafka.apache.org/documentation/#recordbatch: varints are zigzag, everything else is big-endian.
"""

from __future__ import annotations

import gzip
import struct
from collections.abc import Sequence

from aiokafka.producer.message_accumulator import BatchBuilder
from aiokafka.record.util import calc_crc32c

GZIP, LZ4 = 1, 3
_HEAD = struct.Struct(">qiibI")
"""Base offset, length of what follows it, leader epoch, format, checksum of what follows."""
_BODY = struct.Struct(">hiqqqhii")
"""Attributes, last offset delta, first and last timestamp, producer id, epoch and sequence, number of records."""
_LENGTH_STARTS_AT = 12
LENGTH_AT, LENGTH = 8, struct.Struct(">i")
"""Of the batch, behind its base offset: of all that follows the length itself."""


def varint(value: int) -> bytes:
    zigzag = (value << 1) ^ (value >> 63)
    out = bytearray()
    while zigzag > 0x7F:
        out.append(0x80 | (zigzag & 0x7F))
        zigzag >>= 7
    out.append(zigzag)
    return bytes(out)


def record(key: bytes, value: bytes, *, number: int = 0, headers: Sequence[tuple[bytes, bytes | int]] = ()) -> bytes:
    """One record as it stands in a batch, its length before it. `number`: its place in the batch. A number in the place
    of a header's value: its length, with nothing behind it."""
    marks = b"".join(_sized(name) + _sized(content) for name, content in headers)
    body = b"\0" + varint(0) + varint(number)
    body += varint(len(key)) + key + varint(len(value)) + value + varint(len(headers)) + marks
    return varint(len(body)) + body


def _sized(content: bytes | int) -> bytes:
    return varint(content) if isinstance(content, int) else varint(len(content)) + content


def resized(whole: bytes, length: int) -> bytes:
    """The record with another length said of it than it has."""
    begin = next(place for place, byte in enumerate(whole) if byte < 0x80) + 1
    return varint(length) + whole[begin:]


def batch(
    payload: bytes, records: int, timestamp_ms: int, *, compressed: bool = True, checksum: int | None = None
) -> bytes:
    """A batch around `payload`, which is `records` records or is said to be. `checksum`: a wrong one instead."""
    if compressed:
        payload = gzip.compress(payload, mtime=0)
    return packed(payload, records, timestamp_ms, codec=GZIP if compressed else 0, checksum=checksum)


def packed(payload: bytes, records: int, timestamp_ms: int, *, codec: int, checksum: int | None = None) -> bytes:
    """The same around what is said to be compressed already."""
    body = _BODY.pack(codec, records - 1, timestamp_ms, timestamp_ms, -1, -1, -1, records) + payload
    crc = calc_crc32c(body) if checksum is None else checksum
    return _HEAD.pack(0, _HEAD.size + len(body) - _LENGTH_STARTS_AT, -1, 2, crc) + body


class FinishedBatch(BatchBuilder):  # type: ignore[misc]
    """Hands bytes to aiokafka's producer in place of a batch that it would have built."""

    def __init__(self, content: bytes) -> None:
        super().__init__(len(content), 0)
        self._builder.append(0, 0, key=None, value=b"", headers=[])
        self._relative_offset = 1
        self._closed = True
        self._content = content

    def _build(self) -> bytearray:
        return bytearray(self._content)

    def size(self) -> int:
        return len(self._content)
