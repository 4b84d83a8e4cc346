from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.bench.report import finding, table, write


def test_a_ratio_is_of_rounds_that_lie_side_by_side() -> None:
    """A slow minute that hits one round of each says nothing about which of them is faster."""
    found = finding("x", "requests/s", [100.0, 50.0, 110.0], peer=("other", [50.0, 25.0, 50.0]))
    assert (found.ours, found.peer, found.ratio) == (100.0, 50.0, 2.0)
    assert found.rounds == (100.0, 50.0, 110.0)
    assert found.limit is None


def test_rounds_of_unequal_number_are_no_comparison() -> None:
    with pytest.raises(ValueError, match="shorter"):
        finding("x", "ms", [1.0, 2.0], limit=("bound", [1.0]))


def test_what_is_written_has_every_field_of_the_contract(tmp_path: Path) -> None:
    found = [finding("x", "ms", [3.0, 4.0, 5.0], limit=("bound", [8.0, 8.0, 8.0]))]
    write(found, tmp_path / "bench.json")
    (line,) = json.loads((tmp_path / "bench.json").read_text())
    assert line == {
        "name": "x", "unit": "ms", "ours": 4.0, "peer_name": None, "peer": None, "ratio": None,
        "limit_name": "bound", "limit": 8.0, "of_limit": 0.5, "rounds": [3.0, 4.0, 5.0],
    }  # fmt: skip
    assert table(found).row_count == 1
