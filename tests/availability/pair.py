"""The whole system with a second scorer, both kept running, and what is done to their processes."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path

from deploy.local.ports import free_ports
from deploy.local.processes import ManagedProcess
from deploy.local.services import Service
from deploy.local.supervisor import Supervisor
from tests.e2e.system import LONGEST_PAUSE_SECONDS
from tests.load.running import LoadedSystem

SECOND = "scorer-second"
SOURCE = ("simulator", "ingestor")
"""They start once the others are warm, which is when nothing is under way any more."""
DRAIN_S = 2
"""How long a scorer that was told to end still answers: until the balancer, which looks ten times a second, knows."""
BACK_S = 180.0
"""For a process that was ended to be ready again, on a machine that does all of it."""


class Pair:
    """`start` … `stop`. Names of processes: those of the services, and SECOND."""

    def __init__(self, folder: Path, events: int, settings: Mapping[str, str] | None = None) -> None:
        """`events`: a second, from the simulator through the ingestor."""
        own = {"INGESTOR__RATE": str(events), "SCORER__DRAIN_SECONDS": str(DRAIN_S), **(settings or {})}
        self.loaded = LoadedSystem(folder, own)
        http, port, *others = free_ports(2 + len(SOURCE))
        self._second_http = f"http://127.0.0.1:{http}"
        # A name of its own in the group: with the first one's it would take its partitions away.
        mine = {"KAFKA__GROUP_INSTANCE_ID": "second", "SCORER__HTTP_PORT": str(http)}
        self._second = Service("scorer", port, environment=mine)
        self._source = [Service(name, other) for name, other in zip(SOURCE, others, strict=True)]
        self._running = ExitStack()

    @property
    def doors(self) -> list[tuple[str, int]]:
        """Address and operations port of each scorer."""
        first = self.loaded.system.supervisor.service("scorer")
        return [(self.loaded.url, first.metrics_port), (self._second_http, self._second.metrics_port)]

    def start(self) -> None:
        """Raises StartFailed."""
        with ExitStack() as running:
            running.enter_context(self.loaded)
            system = self.loaded.system
            self._beside = Supervisor(
                system.stack, self.loaded.folder / "beside", system.settings, [self._second, *self._source],
                longest_pause=LONGEST_PAUSE_SECONDS,
            )  # fmt: skip
            running.callback(self._beside.stop)
            self._beside.start()
            stopping = threading.Event()
            keeper = threading.Thread(target=self._beside.keep_running, args=(stopping,), daemon=True)
            keeper.start()
            running.callback(keeper.join)
            running.callback(stopping.set)
            self._running = running.pop_all()

    def stop(self) -> None:
        self._running.close()

    def retire_the_source(self) -> None:
        """No more events: what is under way comes to an end."""
        self._beside.retire("ingestor")

    def crash(self, name: str) -> None:
        """kill -9; returns once its successor is ready."""
        process, service = self._kept(name)
        before = process.pid
        process.kill()
        _await_successor(name, process, before, service)

    def restart(self, name: str) -> None:
        """SIGTERM; returns once its successor is ready. Raises AssertionError where it does not end itself, with 0."""
        process, service = self._kept(name)
        before = process.pid
        process.stop()
        # Whoever keeps it running looks twice a second, and pauses before it starts it again.
        assert process.exit_code == 0, f"{name} ended with {process.exit_code}"
        _await_successor(name, process, before, service)

    def _kept(self, name: str) -> tuple[ManagedProcess, Service]:
        own = "scorer" if name == SECOND else name
        supervisor = self._beside if name in (SECOND, *SOURCE) else self.loaded.system.supervisor
        return supervisor.process(own), supervisor.service(own)


def _await_successor(name: str, process: ManagedProcess, before: int, service: Service) -> None:
    deadline = time.monotonic() + BACK_S
    while not (process.running and process.pid != before and service.ready()):
        assert time.monotonic() < deadline, f"{name} was not back after {BACK_S:.0f} s"
        time.sleep(0.1)
