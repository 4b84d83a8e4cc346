from __future__ import annotations

import pytest

from tests.bench.agreement import Compared, compared, table
from tests.bench.report import finding, lines_of


def line(name: str, ours: float, peer: float, limit: float | None = None) -> dict[str, object]:
    (made,) = lines_of(
        [finding(name, "x/s", [ours], peer=("other", [peer]), limit=None if limit is None else ("most", [limit]))]
    )
    return made


def test_each_ratio_is_compared_with_the_one_of_its_name_and_peer() -> None:
    earlier = [line("a", 100, 50, limit=200), line("b", 10, 10)]
    later = [line("b", 20, 10), line("a", 300, 150, limit=500)]
    assert compared(earlier, later) == [
        Compared("b", "other", 1.0, 2.0),
        Compared("a", "other", 2.0, 2.0),
        Compared("a", "most", 0.5, 0.6),
    ]


def test_what_one_run_alone_has_is_left_out() -> None:
    assert compared([line("a", 1, 1)], [line("b", 1, 1)]) == []


@pytest.mark.parametrize(
    ("earlier", "later", "agree"),
    [(1.0, 1.15, True), (1.15, 1.0, True), (1.0, 1.16, False), (0.0, 0.0, True), (0.0, 0.1, False)],
)
def test_ratios_agree_within_fifteen_percent_whichever_comes_first(earlier: float, later: float, agree: bool) -> None:
    assert Compared("a", "other", earlier, later).agree is agree


def test_the_table_counts_those_that_agree() -> None:
    assert table([Compared("a", "x", 1.0, 1.0), Compared("b", "x", 1.0, 2.0)]).title == "1 of 2 ratios agree within 15%"
