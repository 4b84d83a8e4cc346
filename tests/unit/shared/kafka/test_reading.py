"""Batches as the client's own builder makes them, read both ways; and broken ones."""

from __future__ import annotations

from typing import Any

import pytest
from aiokafka.consumer import fetcher
from aiokafka.errors import CorruptRecordException
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from aiokafka.record.memory_records import MemoryRecords
from hypothesis import given
from hypothesis import strategies as st

from shared.contracts.headers import MISFRAMED_HEADER
from shared.kafka import connection, unpacking
from shared.kafka.reading import ForgivingRecords, fieldwise, unpacked
from tests.bad_inputs import batches

NONE, GZIP, SNAPPY, LZ4, ZSTD = range(5)
RECORD = st.tuples(
    st.none() | st.binary(max_size=40),
    st.none() | st.binary(max_size=400),
    st.lists(st.tuples(st.text(max_size=10), st.none() | st.binary(max_size=20)), max_size=3),
)


def built(records: list[tuple[Any, Any, Any]], codec: int) -> bytes:
    builder = DefaultRecordBatchBuilder(
        magic=2, compression_type=codec, is_transactional=0, producer_id=-1, producer_epoch=-1, base_sequence=-1,
        batch_size=1_000_000,
    )  # fmt: skip
    for number, (key, value, headers) in enumerate(records):
        builder.append(number, timestamp=1_000 + number, key=key, value=value, headers=headers)
    return bytes(builder.build())


def seen(record: Any) -> tuple[Any, ...]:
    return record.offset, record.timestamp, record.key, record.value, list(record.headers)


def test_every_consumer_of_a_process_reads_so() -> None:
    assert connection.client_arguments is not None
    assert fetcher.MemoryRecords is ForgivingRecords


@pytest.mark.parametrize("codec", [NONE, GZIP, SNAPPY, LZ4, ZSTD])
@given(records=st.lists(RECORD, min_size=1, max_size=5))
def test_both_ways_of_reading_give_the_same(codec: int, records: list[tuple[Any, Any, Any]]) -> None:
    raw = built(records, codec)
    (own,) = [list(batch) for batch in iter(MemoryRecords(raw).next_batch, None)]
    assert [seen(record) for record in fieldwise(unpacked(raw))] == [seen(record) for record in own]


def test_batches_in_order_are_read_by_the_client_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shared.kafka.reading.fieldwise", None)
    raw = built([(b"k", b"v", [])], GZIP) + built([(b"l", b"w", [])], NONE)
    records = ForgivingRecords(raw)
    found = []
    while records.has_next():
        found += [record.value for record in records.next_batch()]
    assert found == [b"v", b"w"]


def test_a_broken_batch_between_two_others_costs_the_broken_record_alone() -> None:
    good = batches.record(b"k", b"0")
    longer = batches.resized(batches.record(b"k", b"1", number=1), 60)
    middle = batches.batch(good + longer + batches.record(b"k", b"2", number=2), 3, 1_000)
    records = ForgivingRecords(built([(b"k", b"a", [])], NONE) + middle + built([(b"k", b"z", [])], LZ4))
    found: dict[bytes, list[tuple[str, bytes]]] = {}
    while records.has_next():
        found |= {record.value: list(record.headers) for record in records.next_batch()}
    assert list(found) == [b"a", b"0", b"1", b"2", b"z"]
    assert [value for value, headers in found.items() if MISFRAMED_HEADER in dict(headers)] == [b"1"]


@given(st.binary(max_size=200))
def test_no_bytes_are_read_past_their_end(payload: bytes) -> None:
    raw = batches.batch(payload, 3, 1_000, compressed=False)
    try:
        records = list(fieldwise(raw))
    except CorruptRecordException:
        return
    assert len(records) == 3
    assert sum(len(record.value or b"") + len(record.key or b"") for record in records) <= len(payload)


def read(raw: bytes) -> list[Any]:
    records = ForgivingRecords(raw)
    found: list[Any] = []
    while records.has_next():
        found += records.next_batch()
    return found


@pytest.mark.parametrize("codec", [GZIP, LZ4])
def test_what_follows_the_compressed_stream_is_left_out(codec: int) -> None:
    raw = bytearray(built([(b"k", b"a" * 100, [])], codec) + b"junk")
    batches.LENGTH.pack_into(raw, batches.LENGTH_AT, len(raw) - 12)
    assert [record.value for record in read(bytes(raw))] == [b"a" * 100]


def test_any_length_below_zero_is_nothing() -> None:
    """Only where a header's name is no text, since aiokafka reads the others itself."""
    (found,) = read(batches.batch(batches.record(b"k", b"v", headers=[(b"\xff", -7)]), 1, 1_000))
    assert (found.value, found.headers) == (b"v", [("\ufffd", None)])


@pytest.mark.parametrize(
    "middle",
    [
        batches.packed(b"no gzip at all", 3, 1_000, codec=batches.GZIP),
        batches.packed(b"no codec", 3, 1_000, codec=7),
        batches.batch(b"\0" * (unpacking.MOST_BYTES + 1), 3, 1_000),
        batches.batch(batches.record(b"k", b"v")[:-1], 3, 1_000),
    ],
    ids=["not compressed", "an unknown codec", "a bomb", "cut short"],
)
def test_a_batch_that_nothing_can_be_read_of_is_one_record_and_the_next_follows(middle: bytes) -> None:
    found, good = read(middle + built([(b"k", b"z", [])], LZ4))
    assert good.value == b"z"
    assert (found.offset, found.key, found.value, found.timestamp) == (2, None, middle, 1_000)
    assert MISFRAMED_HEADER in dict(found.headers)


def test_a_batch_that_ends_in_nonsense_keeps_its_good_records() -> None:
    raw = batches.batch(batches.record(b"k", b"0") + b"\xff" * 30, 3, 1_000)
    first, rest = read(raw)
    assert (first.value, first.offset) == (b"0", 0)
    assert (rest.value, rest.offset) == (raw, 2)
