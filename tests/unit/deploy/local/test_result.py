from __future__ import annotations

import json
from pathlib import Path

import pytest

from deploy.local.result import Result


def test_nothing_of_an_earlier_run_is_there_once_another_has_begun(tmp_path: Path) -> None:
    result = Result(tmp_path / "out" / "chaos.json")
    result.begin()
    result.leave([{"passed": True}])
    Result(result.path).begin()
    assert not result.path.exists()


def test_what_was_left_last_is_there_as_a_whole(tmp_path: Path) -> None:
    result = Result(tmp_path / "chaos.json")
    result.begin()
    result.leave([1])
    result.leave([1, 2])
    with pytest.raises(TypeError):
        result.leave([1, 2, object()])
    assert json.loads(result.path.read_text()) == [1, 2]
