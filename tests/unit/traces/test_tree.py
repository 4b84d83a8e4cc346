"""A trace drawn as a tree."""

from __future__ import annotations

from tests.otlp_receiver import ReceivedSpan
from tests.traces.tree import tree


def span(number: int, parent: int, name: str, started_ms: float, took_ms: float) -> ReceivedSpan:
    started_ns = 10**18 + int(started_ms * 1e6)
    return ReceivedSpan(
        "flit-sink", name, 1, "t", f"{number}", f"{parent}" if parent else "", started_ns,
        started_ns + int(took_ms * 1e6), False, {},
    )  # fmt: skip


def test_a_tree_shows_each_hop_below_the_one_that_it_follows_from_with_its_times() -> None:
    spans = [
        span(4, 1, "d", 8.0, 1.0), span(1, 0, "a", 2.0, 10.0), span(3, 2, "c", 5.0, 2.5), span(2, 1, "b", 4.0, 1.0),
    ]  # fmt: skip
    lines = tree(spans, {"3": "the row"}).splitlines()
    assert [line.split() for line in lines[1:]] == [
        ["└─", "sink:", "a", "0.0", "ms", "10.0", "ms"],
        ["├─", "sink:", "b", "2.0", "ms", "1.0", "ms"],
        ["│", "└─", "sink:", "c", "3.0", "ms", "2.5", "ms", "the", "row"],
        ["└─", "sink:", "d", "6.0", "ms", "1.0", "ms"],
    ]


def test_a_span_whose_parent_is_not_there_is_a_root() -> None:
    assert "└─ sink: asked" in tree([span(2, 9, "asked", 0.0, 1.0)], {})
