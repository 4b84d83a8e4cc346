from __future__ import annotations

import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from deploy.local.processes import ManagedProcess, StartFailed, Stopped, log_tail

TIMEOUT = 20.0
STUBBORN = (
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(600)"
)
IDLE = "import time; print('up', flush=True); time.sleep(600)"

Make = Callable[..., ManagedProcess]


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    made: list[ManagedProcess] = []

    def make_one(code: str, **options: float) -> ManagedProcess:
        log = tmp_path / f"{len(made)}.log"
        made.append(ManagedProcess("part", [sys.executable, "-I", "-S", "-c", code], log_file=log, **options))  # type: ignore[arg-type]
        return made[-1]

    yield make_one
    for process in made:
        process.kill()


def start_and_wait(process: ManagedProcess) -> None:
    process.start()
    process.wait_until(lambda: "up" in log_tail(process.log_file), TIMEOUT)


def test_a_process_that_ends_at_its_start_is_reported_with_its_last_words(make: Make) -> None:
    process = make("import sys; print('no such disk'); sys.exit(3)")
    process.start()
    with pytest.raises(StartFailed, match=r"(?s)exit code 3.*no such disk"):
        process.wait_until(lambda: False, TIMEOUT)


def test_a_process_that_has_ended_is_not_ready_because_another_answers(make: Make) -> None:
    process = make("import sys; print('address in use'); sys.exit(1)")
    process.start()
    process.wait(TIMEOUT)
    with pytest.raises(StartFailed, match=r"(?s)exit code 1.*address in use"):
        process.wait_until(lambda: True, TIMEOUT)


def test_a_process_that_is_never_ready_is_reported_and_left_running(make: Make) -> None:
    process = make(IDLE)
    process.start()
    with pytest.raises(StartFailed, match=r"wasn't ready within 0.2 s"):
        process.wait_until(lambda: False, 0.2)
    assert process.running


def test_a_command_that_does_not_exist_is_named(tmp_path: Path) -> None:
    process = ManagedProcess("part", ["/nowhere/server"], log_file=tmp_path / "log")
    with pytest.raises(StartFailed, match="/nowhere/server can't be run"):
        process.run(TIMEOUT)


def test_stop_lets_a_process_end_by_itself(make: Make) -> None:
    process = make(IDLE)
    start_and_wait(process)
    process.stop()
    assert process.exit_code == -signal.SIGTERM


def test_stop_kills_a_process_that_does_not_listen(make: Make) -> None:
    process = make(STUBBORN, stop_timeout=0.2)
    start_and_wait(process)
    process.stop()
    assert process.exit_code == -signal.SIGKILL


def test_stop_ends_a_paused_process(make: Make) -> None:
    process = make(IDLE)
    start_and_wait(process)
    process.pause()
    process.stop()
    assert process.exit_code == -signal.SIGTERM


def test_a_paused_process_runs_again_after_resume(make: Make) -> None:
    process = make(IDLE)
    start_and_wait(process)

    def stopped() -> bool:
        return bool(psutil.Process(process.pid).status() == psutil.STATUS_STOPPED)

    process.pause()
    process.wait_until(stopped, TIMEOUT)
    process.resume()
    process.wait_until(lambda: not stopped(), TIMEOUT)


def test_it_can_be_started_again_but_not_twice(make: Make) -> None:
    process = make(IDLE)
    start_and_wait(process)
    with pytest.raises(RuntimeError, match="runs already"):
        process.start()
    first = process.pid
    process.kill()
    process.start()
    assert process.pid != first
    assert process.running


def test_run_reports_a_command_that_fails(make: Make) -> None:
    with pytest.raises(StartFailed, match=r"(?s)failed, with exit code 1.*disk full"):
        make("import sys; sys.exit('disk full')").run(TIMEOUT)


def test_run_ends_its_process_once_it_is_told_to(make: Make) -> None:
    process, stopped = make(IDLE), threading.Event()
    threading.Timer(0.3, stopped.set).start()
    with pytest.raises(Stopped):
        process.run(TIMEOUT, stopped)
    assert process.exit_code == -signal.SIGKILL


def test_a_process_started_from_a_thread_outlives_the_thread(make: Make) -> None:
    process = make(IDLE)
    thread = threading.Thread(target=start_and_wait, args=(process,))
    thread.start()
    thread.join()
    assert process.wait(0.3) is None


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends children with their parent")
def test_a_process_dies_with_a_killed_parent(tmp_path: Path) -> None:
    code = (
        "import pathlib, time; from deploy.local.processes import ManagedProcess\n"
        f"child = ManagedProcess('child', ['sleep', '600'], log_file=pathlib.Path({str(tmp_path / 'log')!r}))\n"
        "child.start(); print(child.pid, flush=True); time.sleep(600)"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        child = psutil.Process(int(parent.stdout.readline()))
        # Until the guard has become the command, it may not have asked the kernel yet.
        while child.name() != "sleep":
            assert child.is_running()
        parent.kill()
        child.wait(TIMEOUT)
    assert not child.is_running()


def test_the_log_keeps_what_earlier_runs_wrote(make: Make) -> None:
    process = make("print('hello')")
    process.run(TIMEOUT)
    process.run(TIMEOUT)
    assert log_tail(process.log_file) == ["hello", "hello"]


def test_the_tail_of_a_missing_log_is_empty(tmp_path: Path) -> None:
    assert log_tail(tmp_path / "none") == []
