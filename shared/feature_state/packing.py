"""Customers' states as Redis holds them: packed by LZ4.

Ids and times repeat from purchase to purchase, and from purchase to outcome: of a state of 30 purchases LZ4 leaves
1,245 bytes of 1,944, in some two microseconds; zstd would leave 953, in fifteen. The same state has the same bytes.
"""

from __future__ import annotations

import cramjam

_PACKED = b"\x01"
"""The first byte of a packed state. One from before states were packed is a MessagePack array and begins as such."""

_SIZE_BYTES = 4
_GREATEST_SIZE = 1 << 24
"""No state is as large. A block says first how much room it needs, and that much is made at once."""


def packed(state: bytes) -> bytes:
    return _PACKED + bytes(cramjam.lz4.compress_block(state))


def unpacked(value: bytes) -> bytes:
    """What was packed. Whatever isn't a packed state stays as it is: those who read states know what one looks like."""
    if not value.startswith(_PACKED):
        return value
    block = value[len(_PACKED) :]
    if int.from_bytes(block[:_SIZE_BYTES], "little") > _GREATEST_SIZE:
        return value
    try:
        return bytes(cramjam.lz4.decompress_block(block))
    except cramjam.DecompressionError:
        return value
