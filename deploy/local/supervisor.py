"""Keeps the embedded stack and all services running: what ends is started again, with growing pauses."""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import structlog

from deploy.local.ownership import owner
from deploy.local.processes import POLL_SECONDS, ManagedProcess, StartFailed, Stopped, in_words
from deploy.local.services import READY_TIMEOUT_SECONDS, Service
from deploy.local.stack import EmbeddedStack
from shared.settings import EXIT_BAD_SETTING

log = structlog.get_logger()

FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.5, 30.0
STEADY_SECONDS = 60
"""A service that ran for so long has recovered: its next restart is quick again."""

LOOK_SECONDS = 0.5
MOST_RESTARTS_AT_START = 3
"""A service that ends once more has a reason that its next start won't cure."""

SERVICES: tuple[Service, ...] = (
    Service("simulator", 9106),
    Service("features", 9102),
    Service("scorer", 9103),
    Service("sink", 9104),
    Service("ingestor", 9101, ("live",)),
    Service("trainer", 9105, ("watch", "--every", "120")),
    Service("console", 9108),
)
"""In the order of their start: the ingestor when the others wait for its events, and who looks on at the end. The
trainer trains, promotes, and guards the experiment that runs."""


@dataclass
class _Pauses:
    """How long what has ended is left alone before it is started again: twice as long each time, until it has run
    steadily."""

    longest: float
    started_at: float = 0.0
    pause: float = FIRST_PAUSE_SECONDS
    restart_at: float | None = None

    def started(self) -> None:
        self.started_at, self.restart_at = time.monotonic(), None

    def due(self, running: bool, say: Callable[[float], None]) -> bool:
        """Whether it is to be started now. `say`: called when it is found to have ended, with the seconds until
        then."""
        now = time.monotonic()
        if running:
            if now - self.started_at > STEADY_SECONDS:
                self.pause = FIRST_PAUSE_SECONDS
            return False
        if self.restart_at is None:
            say(self.pause)
            self.restart_at = now + self.pause
            self.pause = min(self.pause * 2, self.longest)
            return False
        return now >= self.restart_at

    def at_once(self) -> None:
        """It was ended on purpose."""
        self.restart_at, self.pause = time.monotonic(), FIRST_PAUSE_SECONDS


@dataclass
class _Kept:
    service: Service
    process: ManagedProcess
    pauses: _Pauses
    restarts: int = 0
    wanted: bool = False
    """From its start until it is retired."""


class Supervisor:
    """Owns the stack and the services until `stop` is set."""

    def __init__(
        self,
        stack: EmbeddedStack,
        data_dir: Path,
        settings: Mapping[str, str],
        services: Sequence[Service] = SERVICES,
        *,
        longest_pause: float = LONGEST_PAUSE_SECONDS,
        stopped: threading.Event | None = None,
        say: Callable[[str], object] = lambda words: None,
    ) -> None:
        """`settings`: for every service, beside the stack's addresses. `longest_pause`: seconds that a service which
        ends again and again is left alone for. Set during a start, `stopped` ends it, by Stopped. `say`: called with
        what a start is about. A service whose name lies in the folder `held` is stopped meanwhile."""
        self._stopped = stopped or threading.Event()
        self._say = say
        self._held = held(data_dir)
        self._stack = stack
        self._logs = data_dir.absolute() / "logs"
        self._environment = {**stack.environment(), **settings}
        self._kept = [_Kept(service, self._process(service), _Pauses(longest_pause)) for service in services]
        self._parts = {name: _Pauses(longest_pause) for name in stack.parts}

    @property
    def environment(self) -> dict[str, str]:
        return dict(self._environment)

    def prepare(self) -> None:
        """Create topics and warehouse. Raises StartFailed, Stopped."""
        for module, command, made in (
            ("shared.kafka.admin", "create-topics", "topics"),
            ("shared.warehouse", "create", "tables"),
        ):
            self._say(f"creating {made}")
            environment = {**os.environ, "PYTHONPATH": str(Path.cwd()), **self._environment}
            ManagedProcess(
                module,
                [sys.executable, "-m", module, command],
                log_file=self._logs / f"{module}.log",
                environment=environment,
            ).run(READY_TIMEOUT_SECONDS, self._stopped)

    def start(self, names: Collection[str] | None = None) -> None:
        """Start the services of these names, or all that weren't started yet; wait until each is ready, starting again
        what ends, a few times. One that is held is left out, until it no longer is. Raises StartFailed, Stopped. What
        was started runs on: `stop` ends it."""
        chosen = [kept for kept in self._kept if not kept.wanted and (names is None or kept.service.name in names)]
        for kept in chosen:
            kept.wanted = True
            if self._is_held(kept):
                kept.pauses.at_once()
            else:
                self._start(kept)
        deadline = time.monotonic() + READY_TIMEOUT_SECONDS
        for number, kept in enumerate(chosen):
            self._say(f"waiting for {', '.join(each.service.name for each in chosen[number:])}")
            while not (self._is_held(kept) or kept.service.ready()):
                if self._stopped.is_set():
                    raise Stopped
                if time.monotonic() > deadline:
                    raise StartFailed(kept.service.name, "was not ready in time", kept.process.log_file)
                for each in chosen[number:]:
                    if not self._is_held(each):
                        _raise_if_hopeless(each)
                    self._look_after(each)
                time.sleep(POLL_SECONDS)

    def keep_running(self, stop: threading.Event, *, parts: bool = False) -> None:
        """Restart what ends, until `stop` is set. `parts`: those of the stack as well, which whoever ends them on
        purpose starts himself."""
        while not stop.wait(LOOK_SECONDS):
            if parts:
                self._look_after_parts()
            for kept in self._kept:
                self._look_after(kept)

    def process(self, name: str) -> ManagedProcess:
        """The process that runs a service now."""
        return next(kept.process for kept in self._kept if kept.service.name == name)

    def service(self, name: str) -> Service:
        return next(kept.service for kept in self._kept if kept.service.name == name)

    def retire(self, name: str) -> None:
        """Stop one service for good: it is no longer started again."""
        kept = next(kept for kept in self._kept if kept.service.name == name)
        kept.wanted = False
        kept.process.stop()

    def stop(self) -> None:
        """SIGTERM to all services at once; each finishes its batch."""
        with ThreadPoolExecutor(len(self._kept)) as threads:
            list(threads.map(lambda kept: kept.process.stop(), self._kept))

    def _look_after(self, kept: _Kept) -> None:
        if not kept.wanted:
            return
        if self._is_held(kept):
            kept.process.stop()
            kept.pauses.at_once()
            return

        def say(seconds: float) -> None:
            log.warning("service_ended", name=kept.service.name, status=kept.process.exit_code, again_in=seconds)

        if kept.pauses.due(kept.process.running, say):
            kept.restarts += 1
            self._start(kept)

    def _is_held(self, kept: _Kept) -> bool:
        return (self._held / kept.service.name).exists()

    def _start(self, kept: _Kept) -> None:
        kept.process.start()
        kept.pauses.started()

    def _look_after_parts(self) -> None:
        for name, part in self._stack.parts.items():
            pauses = self._parts[name]
            if not pauses.due(part.running, partial(_say_ended, name)):
                continue
            pauses.started()
            try:
                part.start()
            except StartFailed as error:
                log.error("part_not_started", name=name, error=str(error))
                part.kill()

    def _process(self, service: Service) -> ManagedProcess:
        return ManagedProcess(
            service.name,
            service.command,
            log_file=self._logs / f"{service.name}.log",
            environment=service.full_environment(self._environment),
            stop_timeout=20,
        )


def _say_ended(part: str, seconds: float) -> None:
    log.warning("part_ended", name=part, again_in=seconds)


def _raise_if_hopeless(kept: _Kept) -> None:
    """StartFailed for a service that has ended, where another start is of no use."""
    code = kept.process.exit_code
    if code is not None and (code == EXIT_BAD_SETTING or kept.restarts >= MOST_RESTARTS_AT_START):
        raise StartFailed(kept.service.name, f"ended at its start, {in_words(code)}", kept.process.log_file)


def held(data_dir: Path) -> Path:
    """The folder of the names that are to be stopped."""
    return data_dir.absolute() / "held"


@dataclass(frozen=True, slots=True)
class RunningStack:
    """What other commands need to know of a running stack; lies in its data folder. Its owner's lock says whether it
    still counts (`ownership`)."""

    pid: int
    environment: dict[str, str]
    """Empty until the parts are up."""
    ready: bool
    """Whether everything has been up; before, parts of it are still to come."""

    @staticmethod
    def file(data_dir: Path) -> Path:
        return data_dir / "running.json"

    @classmethod
    def read(cls, data_dir: Path) -> RunningStack | None:
        """The stack that runs or starts in this folder; None where none does."""
        pid = owner(data_dir)
        if pid is None:
            return None
        starting = cls(pid, {}, ready=False)
        try:
            written = cls(**json.loads(cls.file(data_dir).read_text()))
        except FileNotFoundError:
            return starting
        return written if written.pid == pid else starting

    @classmethod
    def is_ready(cls, data_dir: Path) -> bool:
        """Whether one runs in this folder with all that belongs to it."""
        running = cls.read(data_dir)
        return running is not None and running.ready

    def write(self, data_dir: Path) -> None:
        # In one go: others read it at any time.
        written = self.file(data_dir).with_suffix(".new")
        written.write_text(json.dumps(asdict(self)))
        written.replace(self.file(data_dir))
