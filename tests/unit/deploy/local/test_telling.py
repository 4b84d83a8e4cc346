from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from deploy.local import control
from deploy.local.background import _parts_told
from deploy.local.ownership import Ownership
from deploy.local.supervisor import RunningStack
from deploy.local.telling import told_in

TIMEOUT = 30
LONG_AGO = 1_000_000


class Clock:
    """Goes on only while somebody sleeps, a minute each time; `meanwhile` is called with how often that was."""

    def __init__(self, meanwhile: Callable[[int], object] = lambda times: None) -> None:
        self.times, self._meanwhile = 0, meanwhile

    def monotonic(self) -> float:
        return 60.0 * self.times

    def sleep(self, _seconds: float) -> None:
        self.times += 1
        self._meanwhile(self.times)


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder of a stack that trains a first model, and has said so."""
    folder = tmp_path / "stack"
    folder.mkdir()
    monkeypatch.setattr(control, "DATA_DIR", folder)
    monkeypatch.setattr(control, "STARTING", folder / "starting")
    control.STARTING.write_text("training a first model")
    with Ownership.take(folder):
        yield folder


def test_what_is_said_is_renewed_until_it_is_over(tmp_path: Path) -> None:
    file = tmp_path / "starting"
    with told_in(file, 0.01) as say:
        assert not file.exists()
        say("training a first model")
        os.utime(file, (LONG_AGO, LONG_AGO))
        deadline = time.monotonic() + TIMEOUT
        while file.stat().st_mtime == LONG_AGO:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        assert file.read_text() == "training a first model"
    assert not file.exists()


def test_a_start_that_takes_long_over_a_step_is_waited_for(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def meanwhile(minutes: int) -> None:
        os.utime(control.STARTING, (minutes, minutes))
        if minutes == 10:
            RunningStack(os.getpid(), {}, ready=True).write(data)

    monkeypatch.setattr(control, "time", Clock(meanwhile))
    assert control._ready(lambda: True)


def test_a_start_that_gives_no_sign_is_given_up(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    monkeypatch.setattr(control, "time", clock)
    assert not control._ready(lambda: True)
    assert clock.monotonic() >= control.UP_SECONDS


def test_the_parts_that_are_still_to_come_are_named() -> None:
    said: list[str] = []
    told = _parts_told(said.append)
    for part, state in (("kafka", "starting"), ("valkey", "starting"), ("valkey", "ready"), ("kafka", "ready")):
        told(part, state)
    told("kafka", "stopping"), told("kafka", "stopped")
    assert said == ["starting kafka", "starting kafka, valkey", "starting kafka"]
