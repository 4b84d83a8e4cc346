from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import pytest

from deploy.local.ports import free_port
from deploy.local.processes import StartFailed, Stopped
from deploy.local.services import Service
from deploy.local.stack import EmbeddedStack
from deploy.local.supervisor import MOST_RESTARTS_AT_START, Supervisor, held

TIMEOUT = 30
IDLE = "import time; time.sleep(600)"

Supervise = Callable[..., Supervisor]


def _look_after_until(supervisor: Supervisor, done: Callable[[], bool], *, parts: bool = False) -> None:
    """Or for as long as a test may wait."""
    stop = threading.Event()
    keeper = threading.Thread(target=supervisor.keep_running, args=(stop,), kwargs={"parts": parts})
    keeper.start()
    try:
        deadline = time.monotonic() + TIMEOUT
        while not done() and time.monotonic() < deadline:
            time.sleep(0.01)
    finally:
        stop.set()
        keeper.join()


class PretendedPart:
    """Runs once it was started, after the failures that it begins with."""

    def __init__(self, failures: int = 0) -> None:
        self.running, self.starts, self._failures = True, 0, failures

    def start(self) -> None:
        self.starts += 1
        if self.starts <= self._failures:
            raise StartFailed("a part", "wasn't ready within 1 s")
        self.running = True

    def kill(self) -> None:
        self.running = False


class PretendedStack:
    """All that a supervisor asks of a stack."""

    def __init__(self, **parts: PretendedPart) -> None:
        self.parts = parts

    def environment(self) -> dict[str, str]:
        return {}


@dataclass(frozen=True)
class Pretender(Service):
    code: str = IDLE

    @property
    def command(self) -> list[str]:
        return [sys.executable, "-I", "-S", "-c", self.code]


@pytest.fixture
def supervise(tmp_path: Path) -> Iterator[Supervise]:
    made: list[Supervisor] = []

    def make(
        *codes: str,
        stopped: threading.Event | None = None,
        say: Callable[[str], object] = lambda words: None,
        **parts: PretendedPart,
    ) -> Supervisor:
        services = [Pretender(f"s{number}", free_port(), code=code) for number, code in enumerate(codes)]
        stack = cast(EmbeddedStack, PretendedStack(**parts))
        made.append(Supervisor(stack, tmp_path, {}, services, longest_pause=0.05, stopped=stopped, say=say))
        return made[-1]

    yield make
    for supervisor in made:
        supervisor.stop()


def test_a_bad_setting_ends_a_start_at_once_with_the_line_that_names_it(supervise: Supervise) -> None:
    supervisor = supervise(IDLE, "import sys; print('bad setting INGESTOR__RATE'); sys.exit(2)")
    with pytest.raises(StartFailed, match=r"(?s)^s1 ended at its start, with exit code 2.*bad setting INGESTOR__RATE"):
        supervisor.start()
    assert supervisor.process("s0").running


def test_what_ends_is_started_again_but_not_for_ever(supervise: Supervise, tmp_path: Path) -> None:
    supervisor = supervise("import sys; print('no such disk', flush=True); sys.exit(1)")
    with pytest.raises(StartFailed, match=r"(?s)with exit code 1.*no such disk"):
        supervisor.start()
    assert (tmp_path / "logs" / "s0.log").read_text().count("no such disk") == 1 + MOST_RESTARTS_AT_START


def test_a_start_ends_once_it_is_told_to(supervise: Supervise) -> None:
    stopped = threading.Event()
    supervisor = supervise(IDLE, stopped=stopped)
    threading.Timer(0.3, stopped.set).start()
    started = time.monotonic()
    with pytest.raises(Stopped):
        supervisor.start()
    assert time.monotonic() - started < TIMEOUT
    supervisor.stop()
    assert not supervisor.process("s0").running


@pytest.mark.parametrize("failures", [0, 2])
def test_a_part_that_was_killed_is_started_again_where_the_supervisor_keeps_the_parts_too(
    supervise: Supervise, failures: int
) -> None:
    valkey, kafka = PretendedPart(failures), PretendedPart()
    supervisor = supervise(IDLE, valkey=valkey, kafka=kafka)
    valkey.running = False
    _look_after_until(supervisor, lambda: valkey.running, parts=True)
    assert (valkey.running, valkey.starts, kafka.starts) == (True, failures + 1, 0)


def test_parts_are_left_to_whoever_ends_them_on_purpose(supervise: Supervise, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Pretender, "ready", lambda _self: True)
    valkey = PretendedPart()
    supervisor = supervise(IDLE, valkey=valkey)
    supervisor.start()
    valkey.kill()
    supervisor.process("s0").kill()
    _look_after_until(supervisor, lambda: supervisor.process("s0").running)
    assert supervisor.process("s0").running, "services are looked after all the same"
    assert (valkey.running, valkey.starts) == (False, 0)


def test_a_service_that_is_held_is_left_out_of_a_start_and_comes_later(
    supervise: Supervise, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("deploy.local.supervisor.READY_TIMEOUT_SECONDS", 2)
    monkeypatch.setattr(Pretender, "ready", lambda self: self.name == "s1")
    supervisor = supervise(IDLE, IDLE)
    mark = held(tmp_path) / "s0"
    mark.parent.mkdir()
    mark.touch()
    supervisor.start()
    assert not supervisor.process("s0").running
    assert supervisor.process("s1").running
    mark.unlink()
    _look_after_until(supervisor, lambda: supervisor.process("s0").running)
    assert supervisor.process("s0").running


def test_a_service_that_is_held_while_it_is_waited_for_does_not_end_the_start(
    supervise: Supervise, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("deploy.local.supervisor.READY_TIMEOUT_SECONDS", 5)
    mark = held(tmp_path) / "s0"
    mark.parent.mkdir()
    supervisor = supervise(IDLE)
    threading.Timer(0.3, mark.touch).start()
    supervisor.start()
    assert mark.exists()


def test_a_start_says_what_it_waits_for(supervise: Supervise, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Pretender, "ready", lambda _self: True)
    said: list[str] = []
    supervise(IDLE, IDLE, say=said.append).start()
    assert said == ["waiting for s0, s1", "waiting for s1"]
