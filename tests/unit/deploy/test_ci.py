"""What decides whether a change lands: `.ci/run`, with stand-ins for the programs that it starts."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from tests.deployment import REPOSITORY

CI = REPOSITORY / ".ci/run"
LIST = ".pytest_cache/v/cache/lastfailed"
INSTALLED = ("apt-get", "promtool", "chromium", "npm", "wrk", "docker-compose")


def program(path: Path, *lines: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(["#!/bin/bash", *lines]) + "\n")
    path.chmod(0o755)


def run(folder: Path, *of_test: str, once_more: int = 0) -> tuple[int, list[str]]:
    """The exit status, and what was run once more. `of_test`: what `make test` does; `once_more`: how that ends."""
    (folder / ".ci").mkdir()
    shutil.copy(CI, folder / ".ci")
    (folder / "of_test").write_text("\n".join(of_test) + "\n")
    program(folder / "programs/make", f'[ "$1" != test ] || . {folder}/of_test')
    for name in INSTALLED:
        program(folder / "programs" / name)
    program(folder / ".venv/bin/python", f'echo "$@" >> {folder}/again', f"exit {once_more}")
    environment = os.environ | {"PATH": f"{folder}/programs:/usr/bin:/bin"}
    done = subprocess.run([folder / ".ci/run"], env=environment, capture_output=True, check=False)
    again = folder / "again"
    return done.returncode, again.read_text().splitlines() if again.exists() else []


def fails(status: str, *, leaves_a_list: bool) -> list[str]:
    """As make tells it, whose own status is 2 then."""
    written = [f"mkdir -p {Path(LIST).parent}", f"echo '{{}}' > {LIST}"] if leaves_a_list else []
    return [*written, f"echo 'make: *** [Makefile:51: test] {status}' >&2", "exit 2"]


def test_nothing_is_run_again_where_nothing_failed(tmp_path: Path) -> None:
    assert run(tmp_path, "exit 0") == (0, [])


def test_what_failed_is_run_again_and_has_to_pass_then(tmp_path: Path) -> None:
    asked = "-m pytest --last-failed --last-failed-no-failures none -m not slow and not system and not airflow"
    for status in (0, 1):
        folder = tmp_path / str(status)
        folder.mkdir()
        assert run(folder, *fails("Error 1", leaves_a_list=True), once_more=status) == (status, [asked])


def test_a_run_that_was_killed_or_broken_off_is_no_success(tmp_path: Path) -> None:
    for number, status in enumerate(("Killed", "Error 137", "Error 2", "Error 3")):
        folder = tmp_path / str(number)
        folder.mkdir()
        code, again = run(folder, *fails(status, leaves_a_list=True))
        assert code != 0 and not again, status


def test_what_an_earlier_run_left_is_gone_before_the_tests_begin(tmp_path: Path) -> None:
    left = tmp_path / LIST
    left.parent.mkdir(parents=True)
    left.write_text('{"tests/test_of_then.py::test_one": true}')
    assert run(tmp_path, f"[ ! -e {LIST} ]", "exit $?") == (0, [])


def test_without_a_list_pytest_runs_nothing_and_says_so(tmp_path: Path) -> None:
    (tmp_path / "test_one.py").write_text("def test_one(): pass\n")
    options = next(line for line in CI.read_text().splitlines() if "--last-failed" in line).split("-m pytest ")[1]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *options.split(" -m ")[0].split(), "--rootdir", tmp_path, tmp_path],
        env=os.environ | {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}, cwd=tmp_path,
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 5, done.stdout
