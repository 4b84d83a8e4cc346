"""How hard a producer packs its batches.

aiokafka packs LZ4 at level 9, searching for the longest match at each byte: 2.4 ms for a batch of 64 vectors, in the
event loop, where everything else waits. Level 1 takes 0.18 ms, and its batches are a seventh larger (docs/adr/0057).
The client has no setting for it, so `install` puts our own packing in the place of its function.
"""

from __future__ import annotations

import sys

from aiokafka import codec
from aiokafka.record.default_records import DefaultRecordBatchBuilder

LZ4_LEVEL = 1


def pack_lz4(data: bytes) -> bytes:
    """A batch's records as one LZ4 frame of independent blocks, as brokers ask for it."""
    packed: bytes = codec.lz4_encode(data, level=LZ4_LEVEL)
    return packed


def install() -> None:
    """From now on every aiokafka producer of this process packs so."""
    builder = sys.modules[DefaultRecordBatchBuilder.__module__]  # in C, or in Python where that wasn't built
    builder.lz4_encode = pack_lz4  # type: ignore[attr-defined]
