from __future__ import annotations

from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from services.ingestor.lines import Line, LineSplitter
from tests.unit.ingestor import recorded

TEXT = st.lists(st.sampled_from([b"data: {}", b"\n", b"\r\n", b"\n\n", b"x", b" ", b"\xc3\xa9", b"\r"]), max_size=30)


def split(body: bytes, cuts: list[int], max_line_bytes: int = 1_000_000) -> list[Line]:
    splitter = LineSplitter(max_line_bytes)
    edges = [0, *sorted(cut % (len(body) + 1) for cut in cuts), len(body)]
    found = [line for start, end in pairwise(edges) for line in splitter.feed(body[start:end])]
    rest = splitter.finish()
    return found if rest is None else [*found, rest]


@given(TEXT.map(b"".join), st.lists(st.integers(0, 10_000), max_size=20), st.integers(1, 12))
def test_how_the_bytes_were_cut_makes_no_difference(body: bytes, cuts: list[int], max_line_bytes: int) -> None:
    assert split(body, cuts, max_line_bytes) == split(body, [], max_line_bytes)


@settings(max_examples=30)
@given(st.lists(st.integers(0, 30_000), max_size=40))
def test_recorded_bytes_give_the_same_lines_however_cut(cuts: list[int]) -> None:
    body = recorded.body("history-4-days")[:30_000]
    expected = [part for part in body.split(b"\n") if part]
    assert [line.raw for line in split(body, cuts)] == expected


def test_every_recorded_line_is_found_byte_by_byte() -> None:
    body = recorded.body("live-1000")[:5_000]
    assert split(body, list(range(5_000))) == split(body, [])


def test_lines_are_numbered_without_the_blank_ones() -> None:
    assert [(line.number, line.raw) for line in split(b"a\n\n \r\n\r\nb\r\nc", [])] == [(0, b"a"), (1, b"b"), (2, b"c")]


def test_only_the_line_that_the_stream_cut_off_is_marked_as_not_ended() -> None:
    assert [line.ended for line in split(b"a\nb\nc", [])] == [True, True, False]
    assert [line.ended for line in split(b"a\nb\n", [])] == [True, True]


def test_a_line_without_end_is_held_only_up_to_the_limit_and_its_neighbours_stay_whole() -> None:
    splitter = LineSplitter(max_line_bytes=8)
    assert splitter.feed(b"first\n") == [Line(0, b"first")]
    for _ in range(1000):
        assert splitter.feed(b"x" * 1000) == []
    assert splitter.feed(b"\nlast\n") == [Line(1, b"xxxxxxxx", overlong=True), Line(2, b"last")]
