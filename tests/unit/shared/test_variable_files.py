"""Files out of variables."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from shared.variable_files import put
from tests.deployment import REPOSITORY

SHOW = """
import os, pathlib, stat, sys
path = pathlib.Path(os.environ["SCORER__API_KEYS_FILE"])
left = "SCORER__API_KEYS_FILE_CONTENT" in os.environ
print(path.read_text(), oct(stat.S_IMODE(path.parent.stat().st_mode)), sys.argv[1:], left)
"""


def test_a_text_comes_into_a_file_whose_path_takes_its_variables_place(tmp_path: Path) -> None:
    changed = put({"KAFKA__SSL_CAFILE_CONTENT": "one\ntwo", "PROFILE": "local"}, tmp_path)
    assert changed == {"KAFKA__SSL_CAFILE": str(tmp_path / "KAFKA__SSL_CAFILE"), "PROFILE": "local"}
    assert (tmp_path / "KAFKA__SSL_CAFILE").read_text() == "one\ntwo\n"


def test_an_empty_text_is_as_good_as_none(tmp_path: Path) -> None:
    assert put({"KAFKA__SSL_CAFILE_CONTENT": ""}, tmp_path) == {}
    assert not list(tmp_path.iterdir())


def test_the_module_runs_in_its_place_and_nobody_else_reads_the_files(tmp_path: Path) -> None:
    (tmp_path / "shows.py").write_text(SHOW)
    done = subprocess.run(
        [sys.executable, "-m", "shared.variable_files", "shows", "--every", "30"],
        env={**os.environ, "PYTHONPATH": f"{REPOSITORY}:{tmp_path}", "SCORER__API_KEYS_FILE_CONTENT": "a key"},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout.split("\n") == ["a key", " 0o700 ['--every', '30'] False", ""]
