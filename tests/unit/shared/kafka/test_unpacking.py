"""What clients compress comes back as it was; junk behind it is left out; nothing grows beyond the bound."""

from __future__ import annotations

import contextlib
import gzip
from collections.abc import Callable

import cramjam
import pytest
from aiokafka import codec
from hypothesis import given
from hypothesis import strategies as st

from shared.kafka.unpacking import GZIP, LZ4, NONE, SNAPPY, ZSTD, UnpackingFailed, unpack

Pack = Callable[[bytes], bytes]


def raw_snappy(data: bytes) -> bytes:
    return bytes(codec.snappy_encode(data, xerial_compatible=False))


def checked_lz4(data: bytes) -> bytes:
    """With checksums and its own length, as other clients write frames."""
    packing = cramjam.lz4.Compressor(content_checksum=True, block_linked=True)
    packing.compress(data)
    return bytes(packing.finish())


PACKERS: dict[str, tuple[int, Pack]] = {
    "gzip": (GZIP, codec.gzip_encode),
    "snappy": (SNAPPY, codec.snappy_encode),
    "raw snappy": (SNAPPY, raw_snappy),
    "lz4": (LZ4, codec.lz4_encode),
    "checked lz4": (LZ4, checked_lz4),
    "zstd": (ZSTD, codec.zstd_encode),
}
ALL = pytest.mark.parametrize(("number", "pack"), list(PACKERS.values()), ids=list(PACKERS))


@ALL
@given(data=st.binary(max_size=3_000))
def test_what_a_client_compressed_comes_back(number: int, pack: Pack, data: bytes) -> None:
    assert unpack(number, pack(data)) == data


@ALL
def test_a_bomb_is_refused_and_what_just_fits_is_not(number: int, pack: Pack) -> None:
    most = 300_000
    assert unpack(number, pack(bytes(most)), most) == bytes(most)
    with pytest.raises(UnpackingFailed):
        unpack(number, pack(bytes(most + 1)), most)


def test_members_and_streams_behind_each_other_are_all_read() -> None:
    assert unpack(GZIP, gzip.compress(b"one") + gzip.compress(b"two") + b"junk") == b"onetwo"
    assert unpack(GZIP, gzip.compress(b"one") + b"\x1f\x8b junk") == b"one"
    assert unpack(SNAPPY, codec.snappy_encode(b"one") + codec.snappy_encode(b"two")) == b"onetwo"


@pytest.mark.parametrize("pack", [codec.lz4_encode, checked_lz4])
def test_what_follows_the_end_of_a_frame_is_left_out(pack: Pack) -> None:
    assert unpack(LZ4, pack(b"one" * 50_000) + b"junk") == b"one" * 50_000


@given(number=st.sampled_from([NONE, GZIP, SNAPPY, LZ4, ZSTD, 5, 7]), data=st.binary(max_size=200))
def test_bytes_of_any_kind_are_unpacked_or_refused(number: int, data: bytes) -> None:
    with contextlib.suppress(UnpackingFailed):
        assert len(unpack(number, data, 100_000)) <= 100_000


@ALL
@given(cut=st.integers(0, 60), flips=st.lists(st.tuples(st.integers(0, 200), st.integers(1, 255)), max_size=4))
def test_broken_streams_are_unpacked_or_refused(
    number: int, pack: Pack, cut: int, flips: list[tuple[int, int]]
) -> None:
    data = bytearray(pack(b"a purchase " * 20))
    for place, flip in flips:
        data[place % len(data)] ^= flip
    with contextlib.suppress(UnpackingFailed):
        assert len(unpack(number, bytes(data[: len(data) - cut]), 100_000)) <= 100_000
