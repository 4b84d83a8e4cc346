"""A child process with a log, a readiness check and a sure end.

Each runs in a process group of its own, so that Ctrl-C in a terminal reaches only the parent, which then stops its
children in order. Nothing outlives the parent, however it ends (see `guard`).
"""

from __future__ import annotations

import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from pathlib import Path

POLL_SECONDS = 0.05
"""Between two looks at a condition. Shorter takes CPU from the starting process itself, on a machine of two cores."""
LOG_TAIL_LINES = 15
"""Enough to hold a Python traceback's last frames or the last lines of a Java stack trace."""
TAIL_BYTES = 16_384

_GUARD = str(Path(__file__).with_name("guard.py"))


class StartFailed(Exception):
    """A part didn't come up. The message holds why, where its log is, and the log's last lines."""

    def __init__(self, name: str, why: str, log_file: Path | None = None) -> None:
        self.name = name
        self.why = why
        self.log_file = log_file
        lines = [f"{name} {why}"]
        if log_file is not None:
            lines += [f"its log, {log_file}, ends with:", *(f"  {line}" for line in log_tail(log_file))]
        super().__init__("\n".join(lines))


class Stopped(Exception):
    """The start was told to end; the next one goes on from here."""


class ManagedProcess:
    """One command as a child process. `start` → `wait_until` → … → `stop`; may be started again after it has ended.

    Standard output and error are appended to `log_file`. Methods may be called from any thread, one at a time.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        *,
        log_file: Path,
        environment: Mapping[str, str] | None = None,
        working_directory: Path | None = None,
        stop_timeout: float = 10.0,
    ) -> None:
        """`environment`: the whole of it, ours by default. `stop_timeout`: seconds from SIGTERM to SIGKILL."""
        self.name = name
        self.command = tuple(command)
        self.log_file = log_file
        self._environment = dict(environment) if environment is not None else None
        self._working_directory = working_directory
        self._stop_timeout = stop_timeout
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def environment(self) -> dict[str, str]:
        """Of the next start; what is changed here counts from then on."""
        if self._environment is None:
            self._environment = dict(os.environ)
        return self._environment

    @property
    def pid(self) -> int:
        """Of the running, or else of the last, process. Raises RuntimeError if it was never started."""
        if self._process is None:
            raise RuntimeError(f"{self.name} was never started")
        return self._process.pid

    @property
    def running(self) -> bool:
        """Also true while it is paused."""
        return self._process is not None and self._process.poll() is None

    @property
    def exit_code(self) -> int | None:
        """Negative: the signal that ended it. None: running, or never started."""
        return None if self._process is None else self._process.poll()

    def start(self) -> None:
        """Starts it, without waiting for readiness. Raises RuntimeError if it runs already."""
        if self.running:
            raise RuntimeError(f"{self.name} runs already, as {self.pid}")
        self.log_file.parent.mkdir(parents=True, exist_ok=True)
        self._process = _spawner().call(self._spawn)

    def _spawn(self) -> subprocess.Popen[bytes]:
        # -I -S: the guard needs nothing but the standard library, and starts in 15 ms without the rest.
        guarded = [sys.executable, "-I", "-S", _GUARD, str(os.getpid()), *self.command]
        with self.log_file.open("ab") as log:
            return subprocess.Popen(
                guarded,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=self._environment,
                cwd=self._working_directory,
                process_group=0,
            )

    def wait_until(self, ready: Callable[[], bool], timeout: float) -> None:
        """Returns once `ready()` is true.

        Raises StartFailed, with the log's last lines, if the process ends first or `timeout` seconds have passed. It is
        left as it is: the caller stops it.
        """
        deadline = time.monotonic() + timeout
        while True:
            answered = ready()
            # Looked at last: what answers may be somebody else's, on a port that ours then didn't get.
            if (code := self.exit_code) is not None:
                raise StartFailed(self.name, f"ended at its start, {in_words(code)}", self.log_file)
            if answered:
                return
            if time.monotonic() > deadline:
                raise StartFailed(self.name, f"wasn't ready within {timeout:g} s", self.log_file)
            time.sleep(POLL_SECONDS)

    def run(self, timeout: float, stopped: threading.Event | None = None) -> None:
        """Starts it and waits for its end. Raises StartFailed unless it ends with 0 within `timeout` seconds, Stopped
        once that event is set."""
        self.start()
        deadline = time.monotonic() + timeout
        try:
            while (code := self.wait(POLL_SECONDS)) is None:
                if stopped is not None and stopped.is_set():
                    raise Stopped
                if time.monotonic() > deadline:
                    raise StartFailed(self.name, f"wasn't done within {timeout:g} s", self.log_file)
            if code != 0:
                raise StartFailed(self.name, f"failed, {in_words(code)}", self.log_file)
        finally:
            self.kill()

    def wait(self, timeout: float) -> int | None:
        """The exit code, or None if it still runs after `timeout` seconds."""
        if self._process is None:
            return None
        try:
            return self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            return None

    def stop(self) -> None:
        """SIGTERM, some time to end, SIGKILL. Does nothing if it doesn't run; ends a paused one as well."""
        if not self.running:
            return
        self._signal(signal.SIGTERM)
        self._signal(signal.SIGCONT)  # a paused process takes no SIGTERM
        if self.wait(self._stop_timeout) is None:
            self.kill()

    def kill(self) -> None:
        """SIGKILL, and waits for the end. Does nothing if it doesn't run."""
        if self._process is not None:
            self._signal(signal.SIGKILL)
            self._process.wait()

    def pause(self) -> None:
        """SIGSTOP: it keeps its memory and its connections, and does nothing."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """SIGCONT."""
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        if self._process is None or self._process.poll() is not None:
            return
        try:
            # The group: Valkey, for one, forks to rewrite its log.
            os.killpg(self._process.pid, number)
        except ProcessLookupError:
            return


def log_tail(log_file: Path, lines: int = LOG_TAIL_LINES) -> list[str]:
    """The last lines of a log, empty ones left out. Reads no more than the file's last 16 KiB."""
    try:
        with log_file.open("rb") as log:
            log.seek(max(0, log_file.stat().st_size - TAIL_BYTES))
            text = log.read().decode("utf-8", "replace")
    except FileNotFoundError:
        return []
    return [line for line in text.splitlines() if line.strip()][-lines:]


def in_words(exit_code: int) -> str:
    """How a process has ended."""
    return f"by {signal.Signals(-exit_code).name}" if exit_code < 0 else f"with exit code {exit_code}"


class _Spawner:
    """Starts all children from one thread that lives as long as this process.

    PR_SET_PDEATHSIG goes by the *thread* that forked: a child started from a pool's thread is killed when the pool
    ends.
    """

    def __init__(self) -> None:
        self._calls: queue.SimpleQueue[
            tuple[Callable[[], subprocess.Popen[bytes]], Future[subprocess.Popen[bytes]]]
        ] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._work, name="child-spawner", daemon=True)
        self._thread.start()

    def call(self, spawn: Callable[[], subprocess.Popen[bytes]]) -> subprocess.Popen[bytes]:
        answer: Future[subprocess.Popen[bytes]] = Future()
        self._calls.put((spawn, answer))
        return answer.result()

    def _work(self) -> None:
        while True:
            spawn, answer = self._calls.get()
            try:
                answer.set_result(spawn())
            except (OSError, ValueError, subprocess.SubprocessError) as error:
                answer.set_exception(error)


_spawner_lock = threading.Lock()
_the_spawner: _Spawner | None = None
_the_spawner_pid: int | None = None


def _spawner() -> _Spawner:
    global _the_spawner, _the_spawner_pid
    with _spawner_lock:
        if _the_spawner is None or _the_spawner_pid != os.getpid():  # a fork inherits the object, not the thread
            _the_spawner, _the_spawner_pid = _Spawner(), os.getpid()
        return _the_spawner
