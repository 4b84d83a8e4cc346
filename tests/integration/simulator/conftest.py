"""The simulator as a process of its own."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

READY_S = 30.0


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def wait_until(condition: Callable[[], bool], seconds: float = 20.0) -> None:
    """Poll until it holds. Raises TimeoutError."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError("the condition never held")
        time.sleep(0.02)


@dataclass
class Running:
    process: subprocess.Popen[bytes]
    port: int
    metrics_port: int
    log: Path

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def is_ready(self) -> bool:
        assert self.process.poll() is None, self.log.read_text()
        with contextlib.suppress(httpx.TransportError):
            return httpx.get(f"http://127.0.0.1:{self.metrics_port}/ready").status_code == 200
        return False

    def metric(self, sample: str) -> float:
        """The value of a sample, as `name{labels}`; 0 where there is none yet."""
        text = httpx.get(f"http://127.0.0.1:{self.metrics_port}/metrics").text
        return next((float(line.rpartition(" ")[2]) for line in text.splitlines() if line.startswith(sample)), 0.0)

    def sent(self) -> float:
        return self.metric('flit_events_total{result="sent",service="simulator",topic="bnpl"}')

    def open_streams(self, mode: str) -> float:
        return self.metric(f'flit_simulator_open_streams{{generator="bnpl",mode="{mode}"}}')


@pytest.fixture(scope="module")
def simulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with started(tmp_path_factory.mktemp("simulator") / "log") as running:
        yield running


@contextlib.contextmanager
def started(log: Path) -> Iterator[Running]:
    """A simulator that is ready; it is killed on the way out if it still runs."""
    port, metrics_port = free_port(), free_port()
    environment = os.environ | {
        "SIMULATOR__PORT": str(port),
        "METRICS__PORT": str(metrics_port),
        "SIMULATOR__HISTORY_DAY_PAUSE_SECONDS": "0",
    }
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "services.simulator"], env=environment, stdout=output, stderr=output
        )
    running = Running(process, port, metrics_port, log)
    try:
        wait_until(running.is_ready, READY_S)
        yield running
    finally:
        process.kill()
        process.wait()
