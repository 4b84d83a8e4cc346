"""Unpacks what a compressed record batch holds: as much as the broker let in, and never more than a bound.

A broker walks over a compressed batch as a stream: it bounds the bytes that were sent, and holds nothing that comes out
of them. So a batch of under a megabyte may hold hundreds of them, and whoever unpacks it whole ends by the memory limit
of his machine, again after each restart. It also ends its walk where the compressed stream ends, and takes whatever
follows it: junk behind a gzip member, or behind the end mark of an LZ4 frame.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable

import cramjam

MOST_BYTES = 64 * 1024 * 1024
"""Of one batch, unpacked: many times what clients put into one before it is packed (by default a megabyte)."""

_TOO_MUCH = "more than is unpacked of one batch"

NONE, GZIP, SNAPPY, LZ4, ZSTD = range(5)

_LZ4_GROWS = 255
"""At most, by its format: a byte says at most so many."""
_GZIP_WITH_HEADER = 31
_GZIP_MAGIC = b"\x1f\x8b"

_XERIAL_MAGIC, _XERIAL_HEADER_BYTES = b"\x82SNAPPY\x00", 16
"""Java's Snappy: a header, then blocks of their own, each behind its length."""
_BLOCK_LENGTH = struct.Struct(">i")

_LZ4_MAGIC = b"\x04\x22\x4d\x18"
_LZ4_BLOCK = struct.Struct("<I")
_LZ4_BLOCK_CHECKSUM, _LZ4_CONTENT_SIZE, _LZ4_CONTENT_CHECKSUM, _LZ4_DICTIONARY = 0x10, 0x08, 0x04, 0x01
_LZ4_UNPACKED_BIT = 0x80000000


class UnpackingFailed(ValueError):
    """It is no such stream, or holds more than is unpacked."""


def unpack(codec: int, packed: bytes, most: int = MOST_BYTES) -> bytes:
    """The bytes of a compressed batch behind its head. `codec` as in its attributes. Raises UnpackingFailed."""
    try:
        return _UNPACK[codec](packed, most)
    except KeyError:
        raise UnpackingFailed(f"no codec {codec}") from None
    except (cramjam.DecompressionError, zlib.error, struct.error, ValueError, IndexError) as error:
        raise UnpackingFailed(str(error)) from error


def _gzip(packed: bytes, most: int) -> bytes:
    """All members, as Java reads them: what follows the last and begins no other is left out."""
    parts: list[bytes] = []
    size, rest = 0, packed
    while not parts or rest.startswith(_GZIP_MAGIC):
        member = zlib.decompressobj(_GZIP_WITH_HEADER)
        try:
            parts.append(member.decompress(rest, most - size + 1))
        except zlib.error:
            if not parts:
                raise
            break
        size += len(parts[-1])
        if size > most:
            raise UnpackingFailed(_TOO_MUCH)
        if not member.eof:
            raise UnpackingFailed("a gzip member without its end")
        rest = member.unused_data
    return b"".join(parts)


def _snappy(packed: bytes, most: int) -> bytes:
    if not packed.startswith(_XERIAL_MAGIC):
        return _snappy_block(packed, most)
    parts: list[bytes] = []
    size, at = 0, _XERIAL_HEADER_BYTES
    while at < len(packed):
        if packed.startswith(_XERIAL_MAGIC, at):  # another stream behind the first
            at += _XERIAL_HEADER_BYTES
            continue
        (length,) = _BLOCK_LENGTH.unpack_from(packed, at)
        at += _BLOCK_LENGTH.size
        if not 0 <= length <= len(packed) - at:
            raise UnpackingFailed(f"a block of {length} bytes, {len(packed) - at} are left")
        parts.append(_snappy_block(packed[at : at + length], most - size))
        size += len(parts[-1])
        at += length
    return b"".join(parts)


def _snappy_block(block: bytes, most: int) -> bytes:
    # It says so itself, and room for it is made before anything is unpacked.
    if cramjam.snappy.decompress_raw_len(block) > most:
        raise UnpackingFailed(_TOO_MUCH)
    return bytes(cramjam.snappy.decompress_raw(block))


def _lz4(packed: bytes, most: int) -> bytes:
    try:
        return _lz4_frame(packed, most)
    except cramjam.DecompressionError:
        return _lz4_frame(packed[: _end_of_lz4_frame(packed)], most)


def _lz4_frame(packed: bytes, most: int) -> bytes:
    if len(packed) * _LZ4_GROWS <= most:  # nearly every batch
        return bytes(cramjam.lz4.decompress(packed))
    return _into_bounded(cramjam.lz4.decompress_into, packed, most)


def _end_of_lz4_frame(packed: bytes) -> int:
    """Where its end mark and checksum end. Raises UnpackingFailed, struct.error."""
    if not packed.startswith(_LZ4_MAGIC):
        raise UnpackingFailed("no LZ4 frame")
    flags = packed[4]
    at = 7 + (8 if flags & _LZ4_CONTENT_SIZE else 0) + (4 if flags & _LZ4_DICTIONARY else 0)
    while True:
        (length,) = _LZ4_BLOCK.unpack_from(packed, at)
        at += _LZ4_BLOCK.size
        if not length:
            return at + (4 if flags & _LZ4_CONTENT_CHECKSUM else 0)
        at += (length & ~_LZ4_UNPACKED_BIT) + (4 if flags & _LZ4_BLOCK_CHECKSUM else 0)


def _zstd(packed: bytes, most: int) -> bytes:
    return _into_bounded(cramjam.zstd.decompress_into, packed, most)


def _into_bounded(decompress_into: Callable[[bytes, bytearray], int], packed: bytes, most: int) -> bytes:
    """How much comes out is not told beforehand: into room that grows, up to the bound."""
    room = min(max(65_536, 16 * len(packed)), most)
    while True:
        unpacked = bytearray(room)
        try:
            return bytes(memoryview(unpacked)[: decompress_into(packed, unpacked)])
        except cramjam.DecompressionError as error:
            if room == most:
                raise UnpackingFailed(f"not within {most} bytes: {error}") from error
            room = min(16 * room, most)


_UNPACK: dict[int, Callable[[bytes, int], bytes]] = {
    GZIP: _gzip,
    SNAPPY: _snappy,
    LZ4: _lz4,
    ZSTD: _zstd,
}
