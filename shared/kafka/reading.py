"""Reads record batches that a broker lets in and aiokafka can't take apart.

A broker checks a compressed batch by walking over its records field by field. It doesn't compare a record's own length
with its fields, and it doesn't look at names of headers. aiokafka does both, and raises for the whole batch: every
consumer of the partition would stop there for good, on one record that anybody who may write can send. So batches are
unpacked here, within bounds (`unpacking`), and where aiokafka raises, the batch is read as the broker read it:

- a header's name that is no UTF-8 has its unreadable bytes replaced, as Java's clients do;
- a length below zero is nothing (null), whichever it is;
- a record whose length isn't that of its fields gets the header `misframed`, for which it is refused (`syntax`);
- a batch that can't be unpacked, or taken apart from some record on, becomes one record there with the same header: the
  batch's last, whose value is the batch as it stands on the topic.

`install` puts this in the place of aiokafka's own reader (docs/adr/0015).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import structlog
from aiokafka.consumer import fetcher
from aiokafka.errors import CorruptRecordException
from aiokafka.record.memory_records import MemoryRecords

from shared.contracts.headers import MISFRAMED_HEADER
from shared.kafka.unpacking import NONE, UnpackingFailed, unpack

log = structlog.get_logger()

NEWEST_FORMAT = 2
"""Batches of older formats have no headers and no varints; what a broker since 4.0 holds is of this one."""

_OVERHEAD = struct.Struct(">qi")
"""Base offset, and the length of what follows."""
_HEAD = struct.Struct(">qiibIhiqqqhii")
"""Of a whole batch, up to its records: base offset, length, leader epoch, format, checksum, attributes, last offset
delta, first and last timestamp, producer id, epoch and sequence, number of records."""
_CODEC_BITS, _APPEND_TIME_BIT = 0b111, 0b1000
_LENGTH_AT, _ATTRIBUTES_AT = 8, 21
_LENGTH, _ATTRIBUTES = struct.Struct(">i"), struct.Struct(">h")
_LONGEST_VARINT = 10


@dataclass(frozen=True, slots=True)
class FieldwiseRecord:
    """Looks like a record of aiokafka's."""

    offset: int
    timestamp: int
    timestamp_type: int
    key: bytes | None
    value: bytes | None
    headers: list[tuple[str, bytes | None]]
    checksum: None = None


class ForgivingRecords:
    """The batches of one fetch, as aiokafka's `MemoryRecords` gives them; each can be read a second way."""

    def __init__(self, data: bytes) -> None:
        self._records = MemoryRecords(data)
        self._data = memoryview(data)
        self._at = 0

    def size_in_bytes(self) -> int:
        return int(self._records.size_in_bytes())

    def has_next(self) -> bool:
        return bool(self._records.has_next())

    def next_batch(self) -> Any:
        batch = self._records.next_batch()
        _, length = _OVERHEAD.unpack_from(self._data, self._at)
        end = self._at + _OVERHEAD.size + length
        raw, self._at = self._data[self._at : end], end
        return _ForgivingBatch(batch, raw) if batch is not None else None


class _ForgivingBatch:
    """Everything as the wrapped batch has it, but for records that it can't read."""

    def __init__(self, batch: Any, raw: memoryview) -> None:
        self._batch = batch
        self._raw = raw

    def __getattr__(self, name: str) -> Any:
        return getattr(self._batch, name)

    def __next__(self) -> Any:
        return next(self._batch)

    def __iter__(self) -> Iterator[Any]:
        head = _HEAD.unpack_from(self._raw)
        if head[3] != NEWEST_FORMAT:
            yield from self._batch
            return
        try:
            plain = unpacked(self._raw)
        except UnpackingFailed as error:
            log.warning("batch_not_unpacked", offset=head[0], error=str(error)[:200])
            yield _as_one_record(self._raw)
            return
        read = 0
        batch = self._batch if plain is self._raw else MemoryRecords(plain).next_batch()
        try:
            for record in batch:
                read += 1
                yield record
            return
        except Exception as error:  # noqa: BLE001 – whatever it is: a batch that isn't passed is fetched for ever
            log.warning("batch_read_field_by_field", offset=head[0], error=str(error)[:200])
        try:
            for record in fieldwise(plain, skip=read):
                read += 1
                yield record
        except CorruptRecordException as error:
            log.warning("batch_not_readable", offset=head[0], records=read, error=str(error)[:200])
            yield _as_one_record(self._raw)


def unpacked(raw: bytes | memoryview) -> bytes | memoryview:
    """The batch as if it had never been compressed, but for its checksum; itself if it wasn't. Raises
    UnpackingFailed."""
    attributes = _HEAD.unpack_from(raw)[5]
    if attributes & _CODEC_BITS == NONE:
        return raw
    data = unpack(attributes & _CODEC_BITS, bytes(raw[_HEAD.size :]))
    head = bytearray(raw[: _HEAD.size])
    _LENGTH.pack_into(head, _LENGTH_AT, len(head) + len(data) - _OVERHEAD.size)
    _ATTRIBUTES.pack_into(head, _ATTRIBUTES_AT, attributes & ~_CODEC_BITS)
    return bytes(head) + data


def _as_one_record(raw: bytes | memoryview) -> FieldwiseRecord:
    """In the place of all of a batch that nothing can be read of, or of its rest: nothing of it is lost, and the
    partition goes on behind it."""
    head = _HEAD.unpack_from(raw)
    base_offset, attributes, last_delta, last_ms = head[0], head[5], head[6], head[8]
    headers: list[tuple[str, bytes | None]] = [(MISFRAMED_HEADER, str(len(raw)).encode())]
    append_time = int(bool(attributes & _APPEND_TIME_BIT))
    return FieldwiseRecord(base_offset + last_delta, last_ms, append_time, None, bytes(raw), headers)


def fieldwise(raw: bytes | memoryview, skip: int = 0) -> Iterator[FieldwiseRecord]:
    """The records of one batch that is not compressed, but for the first ones, without trust in their own lengths.

    Raises CorruptRecordException where the fields don't fit the batch either.
    """
    head = _HEAD.unpack_from(raw)
    base_offset, attributes, first_ms, last_ms, count = head[0], head[5], head[7], head[8], head[12]
    append_time = bool(attributes & _APPEND_TIME_BIT)
    cursor = _Cursor(bytes(raw[_HEAD.size :]))
    for number in range(count):
        length = cursor.varint()
        begin = cursor.at
        cursor.take(1)  # attributes of the record: none are defined
        timestamp = last_ms if append_time else first_ms + cursor.varint()
        if append_time:
            cursor.varint()
        offset = base_offset + cursor.varint()
        key, value = cursor.bytes_or_none(), cursor.bytes_or_none()
        headers: list[tuple[str, bytes | None]] = []
        for _ in range(cursor.varint()):
            name = (cursor.bytes_or_none() or b"").decode("utf-8", "replace")
            headers.append((name, cursor.bytes_or_none()))
        if cursor.at - begin != length:
            headers.append((MISFRAMED_HEADER, str(length).encode()))
        if number >= skip:
            yield FieldwiseRecord(offset, timestamp, int(append_time), key, value, headers)


class _Cursor:
    def __init__(self, data: bytes) -> None:
        self._data = data
        self.at = 0

    def take(self, count: int) -> bytes:
        end = self.at + count
        if count < 0 or end > len(self._data):
            raise CorruptRecordException(f"{count} bytes at {self.at} of {len(self._data)}")
        taken, self.at = self._data[self.at : end], end
        return taken

    def bytes_or_none(self) -> bytes | None:
        length = self.varint()
        return None if length < 0 else self.take(length)

    def varint(self) -> int:
        value = 0
        for place in range(_LONGEST_VARINT):
            (byte,) = self.take(1)
            value |= (byte & 0x7F) << (7 * place)
            if byte < 0x80:
                return (value >> 1) ^ -(value & 1)
        raise CorruptRecordException(f"a number without an end at {self.at}")


def install() -> None:
    """From now on every aiokafka consumer of this process reads so."""
    fetcher.MemoryRecords = ForgivingRecords
