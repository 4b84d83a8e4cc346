"""`make demo` and `make up`, told to stop while their parts start: the real ones, so that what is left would show."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import psutil
import pytest

from deploy.local.control import CONSOLE_PORT, SCORER_PORT, SIMULATOR_PORT
from deploy.local.ports import free_ports, is_free
from deploy.local.supervisor import SERVICES

REPOSITORY = Path(__file__).parents[3]
GONE_TIMEOUT_SECONDS = 60


def program(module: str, *words: str, folder: Path, environment: Mapping[str, str]) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", module, *words], cwd=folder, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY), "PYTHONUTF8": "1", **environment},
        # What a shell starts in the background ignores Ctrl-C, and so would all that the tests start there.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )  # fmt: skip


def processes_of(folder: Path) -> list[psutil.Process]:
    """All that have the folder in their command or stand in it."""
    found = []
    for process in psutil.process_iter():
        try:
            if str(folder) in " ".join([*process.cmdline(), process.cwd()]):
                found.append(process)
        except psutil.Error:
            continue
    return found


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_demo_that_starts_stops_at_once(tmp_path: Path, number: signal.Signals) -> None:
    with program("deploy.local.demo", folder=tmp_path, environment={"DEMO_DATA_DIR": str(tmp_path / "demo")}) as demo:
        try:
            assert demo.stdout is not None
            while "valkey" not in (line := demo.stdout.readline()):  # the others take seconds longer
                assert line
            demo.send_signal(number)
            said, _ = demo.communicate(timeout=GONE_TIMEOUT_SECONDS)
        finally:
            demo.kill()
    assert "demo stopped; nothing is left running" in said
    assert not (tmp_path / "demo" / "logs").exists()
    assert processes_of(tmp_path) == []


def test_a_stack_that_starts_is_known_and_stopped(tmp_path: Path) -> None:
    fixed = [SCORER_PORT, CONSOLE_PORT, SIMULATOR_PORT, *(service.metrics_port for service in SERVICES)]
    if taken := [port for port in fixed if not is_free(port)]:
        pytest.skip(f"something else runs on the ports of `make up`: {taken}")
    kafka, valkey, rest, grpc = free_ports(4)
    environment = {
        "KAFKA__BOOTSTRAP_SERVERS": f"127.0.0.1:{kafka}",
        "REDIS__URL": f"redis://127.0.0.1:{valkey}/0",
        "BIGQUERY__REST_ENDPOINT": f"http://127.0.0.1:{rest}",
        "BIGQUERY__GRPC_ENDPOINT": f"127.0.0.1:{grpc}",
    }

    def control(command: str) -> subprocess.Popen[str]:
        return program("deploy.local.control", command, folder=tmp_path, environment=environment)

    up = control("up")
    try:
        deadline = time.monotonic() + GONE_TIMEOUT_SECONDS
        while is_free(valkey):
            assert up.poll() is None and time.monotonic() < deadline
            time.sleep(0.02)
        down = control("down")
        assert "stopped; data stays" in down.communicate(timeout=GONE_TIMEOUT_SECONDS)[0]
        assert "stopped before it was ready" in up.communicate(timeout=GONE_TIMEOUT_SECONDS)[0]
        assert (down.returncode, up.returncode) == (0, 1)
    finally:
        up.kill()
    assert not (tmp_path / ".local" / "stack" / "logs").exists()
    assert processes_of(tmp_path) == []
