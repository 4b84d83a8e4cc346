from __future__ import annotations

import io
import json

import pytest
from rich.console import Console

from tests.bench.report import Finding, at_least, at_most, finding, lines_of, table


def test_a_ratio_is_of_rounds_that_lie_side_by_side() -> None:
    """A slow minute that hits one round of each says nothing about which of them is faster."""
    found = finding("x", "requests/s", [100.0, 50.0, 110.0], peer=("other", [50.0, 25.0, 50.0]))
    assert (found.ours, found.peer, found.ratio) == (100.0, 50.0, 2.0)
    assert found.rounds == (100.0, 50.0, 110.0)
    assert found.limit is None


def test_rounds_of_unequal_number_are_no_comparison() -> None:
    with pytest.raises(ValueError, match="shorter"):
        finding("x", "ms", [1.0, 2.0], limit=("bound", [1.0]))


def test_what_is_written_has_the_fields_of_the_contract_and_no_other() -> None:
    found = [finding("x", "ms", [3.0, 4.0, 5.0], limit=("bound", [8.0, 8.0, 8.0]), targets=[at_most("ours", 5)])]
    (line,) = json.loads(json.dumps(lines_of(found)))
    assert line == {
        "name": "x", "unit": "ms", "ours": 4.0, "peer_name": None, "peer": None, "ratio": None,
        "limit_name": "bound", "limit": 8.0, "of_limit": 0.5, "rounds": [3.0, 4.0, 5.0],
    }  # fmt: skip
    assert table(found).row_count == 1


def test_nothing_is_divided_by_a_bound() -> None:
    (line,) = lines_of([finding("x", "ms", [3.0, 5.0, 4.0], bound=("15 ms", 15.0))])
    assert (line["limit_name"], line["limit"], line["of_limit"]) == ("15 ms", 15.0, None)


def _shown(found: Finding) -> str:
    written = io.StringIO()
    Console(file=written, width=200).print(table([found]))
    return written.getvalue()


def test_the_table_says_which_targets_are_met() -> None:
    found = finding(
        "x", "events/s", [120.0, 130.0, 125.0], peer=("other", [100.0, 100.0, 100.0]),
        targets=[at_least("ratio", 1.25), at_least("ours", 200)],
    )  # fmt: skip
    assert "≥ 1.25 × peer: met" in _shown(found)
    assert "≥ 200: missed" in _shown(found)


@pytest.mark.parametrize(("reached", "said"), [(15.0, "met"), (15.1, "missed")])
def test_of_a_latency_less_is_better(reached: float, said: str) -> None:
    assert f"≤ 15: {said}" in _shown(finding("x", "ms", [reached], targets=[at_most("ours", 15)]))
