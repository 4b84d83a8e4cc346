from __future__ import annotations

import os
from pathlib import Path

import pytest

from deploy.local.ownership import Ownership
from deploy.local.processes import StartFailed
from deploy.local.stack import MARKER, EmbeddedStack, main


def test_fresh_wipes_what_an_earlier_stack_left(tmp_path: Path) -> None:
    EmbeddedStack(tmp_path / "data")
    (tmp_path / "data" / "kafka").mkdir()
    (tmp_path / "data" / "kafka" / "log").write_text("old")
    EmbeddedStack(tmp_path / "data", fresh=True)
    assert [each.name for each in (tmp_path / "data").iterdir()] == [MARKER]


def test_without_fresh_the_data_stays(tmp_path: Path) -> None:
    EmbeddedStack(tmp_path / "data")
    (tmp_path / "data" / "kept").write_text("old")
    EmbeddedStack(tmp_path / "data")
    assert (tmp_path / "data" / "kept").read_text() == "old"


@pytest.mark.parametrize("fresh", [True, False])
def test_a_folder_that_is_not_a_stacks_is_never_touched(tmp_path: Path, fresh: bool) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(StartFailed, match="choose an empty folder"):
        EmbeddedStack(tmp_path, fresh=fresh)
    assert [each.name for each in tmp_path.iterdir()] == ["thesis.txt"]


def test_wiping_does_not_follow_links_out_of_the_folder(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "thesis.txt").write_text("years of work")
    EmbeddedStack(tmp_path / "data")
    (tmp_path / "data" / "link").symlink_to(elsewhere)
    EmbeddedStack(tmp_path / "data", fresh=True)
    assert (elsewhere / "thesis.txt").exists()


def test_a_file_in_place_of_the_folder_is_reported(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("")
    with pytest.raises(StartFailed, match="that is a file"):
        EmbeddedStack(tmp_path / "data")


def test_nobody_wipes_the_data_of_one_that_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def started(_self: EmbeddedStack) -> None:
        raise StartFailed("a second stack", "has begun")

    monkeypatch.setattr(EmbeddedStack, "start", started)
    data = tmp_path / "data"
    EmbeddedStack(data)
    (data / "kept").write_text("in use")
    with Ownership.take(data), pytest.raises(SystemExit, match=f"already runs in {data}, as process {os.getpid()}$"):
        main(["--data-dir", str(data), "--fresh"])
    assert (data / "kept").read_text() == "in use"
