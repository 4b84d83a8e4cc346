"""Batches as the client's own builder makes them."""

from __future__ import annotations

from aiokafka.codec import lz4_encode
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from aiokafka.record.memory_records import MemoryRecords

from shared.kafka import connection
from shared.kafka.compression import pack_lz4

NONE, LZ4 = 0, 3
HEAD_BYTES = 61
"""Of a batch, before its records."""
RECORDS = [b'{"customer_id": "cust_%06d", "amount": %d.25}' % (number * 7919 % 1000, number) for number in range(200)]


def built(compression: int) -> bytes:
    builder = DefaultRecordBatchBuilder(
        magic=2, compression_type=compression, is_transactional=0, producer_id=-1, producer_epoch=-1, base_sequence=-1,
        batch_size=1_000_000,
    )  # fmt: skip
    for offset, value in enumerate(RECORDS):
        builder.append(offset, timestamp=1_000, key=b"k", value=value, headers=[])
    return bytes(builder.build())


def test_the_client_s_builder_packs_at_our_level() -> None:
    assert connection.client_arguments is not None  # whoever connects has it installed
    plain, packed = built(NONE)[HEAD_BYTES:], built(LZ4)
    assert packed[HEAD_BYTES:] == pack_lz4(plain)
    assert len(lz4_encode(plain)) < len(pack_lz4(plain)) < len(plain)
    assert [record.value for record in MemoryRecords(packed).next_batch()] == RECORDS
