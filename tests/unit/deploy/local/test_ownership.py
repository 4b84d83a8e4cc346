from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from deploy.local.ownership import Owned, Ownership, lock_file, owner
from deploy.local.supervisor import RunningStack

TIMEOUT = 20
HOLD = (
    "import sys, time; from pathlib import Path; from deploy.local.ownership import Ownership\n"
    "held = Ownership.take(Path(sys.argv[1])); print('held', flush=True); time.sleep(600)"
)

ASK = (
    "import sys; from pathlib import Path; from deploy.local.ownership import owner\n"
    "print('asking', flush=True)\nwhile True: owner(Path(sys.argv[1]))"
)


@contextmanager
def other_owner(data: Path) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen([sys.executable, "-c", HOLD, str(data)], stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "held\n"
            yield process
        finally:
            process.kill()


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return tmp_path / "stack"


def test_nobody_owns_what_was_never_started(data: Path) -> None:
    assert owner(data) is None
    assert RunningStack.read(data) is None


def test_there_is_one_owner_at_a_time_and_it_is_named(data: Path) -> None:
    with other_owner(data) as other:
        assert owner(data) == other.pid
        with pytest.raises(Owned, match=f"^something already runs in {data}, as process {other.pid}$"):
            Ownership.take(data)
    with Ownership.take(data):
        assert owner(data) == os.getpid()
    assert owner(data) is None


def test_the_death_of_an_owner_frees_the_stack_though_its_number_stays(data: Path) -> None:
    with other_owner(data) as other:
        other.kill()
        other.wait(TIMEOUT)
        assert lock_file(data).read_text() == str(other.pid)
        assert owner(data) is None


def test_who_asks_does_not_keep_others_from_taking_it(data: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", ASK, str(data)], stdout=subprocess.PIPE, text=True) as asking:
        try:
            assert asking.stdout is not None
            assert asking.stdout.readline() == "asking\n"
            for _ in range(50):
                with Ownership.take(data):
                    assert owner(data) == os.getpid()
        finally:
            asking.kill()


def test_a_child_that_was_given_the_lock_keeps_it(data: Path) -> None:
    with Ownership.take(data) as mine:
        child = subprocess.Popen(["sleep", "600"], pass_fds=[mine.descriptor])
        mine.is_of(child.pid)
    try:
        assert owner(data) == child.pid
    finally:
        child.kill()
        child.wait(TIMEOUT)
    assert owner(data) is None


@pytest.mark.parametrize("pid", [os.getpid(), 1], ids=["ours", "another user's"])
def test_what_an_earlier_run_left_is_not_believed_for_a_process_of_that_number(data: Path, pid: int) -> None:
    data.mkdir()
    RunningStack(pid, {"REDIS__URL": "redis://127.0.0.1:1/0"}, ready=True).write(data)
    assert RunningStack.read(data) is None


def test_before_its_parts_are_up_a_stack_is_known_to_start(data: Path) -> None:
    with other_owner(data) as other:
        assert RunningStack.read(data) == RunningStack(other.pid, {}, ready=False)
        data.mkdir()
        left_over = RunningStack(os.getpid(), {"REDIS__URL": "redis://127.0.0.1:1/0"}, ready=True)
        left_over.write(data)
        assert RunningStack.read(data) == RunningStack(other.pid, {}, ready=False)
        assert not RunningStack.is_ready(data)
        theirs = RunningStack(other.pid, {"REDIS__URL": "redis://127.0.0.1:2/0"}, ready=True)
        theirs.write(data)
        assert json.loads(RunningStack.file(data).read_text())["ready"]
        assert RunningStack.read(data) == theirs
        assert RunningStack.is_ready(data)


def test_another_way_to_the_folder_leads_to_the_same_owner(data: Path) -> None:
    data.mkdir()
    link = data.with_name("link")
    link.symlink_to(data)
    with Ownership.take(data):
        for way in (link, data / ".." / data.name, Path(os.path.relpath(data))):
            with pytest.raises(Owned):
                Ownership.take(way)
