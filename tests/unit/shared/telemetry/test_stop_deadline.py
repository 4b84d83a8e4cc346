"""A stop signal is obeyed, whatever the work is waiting for. Each time in a process of its own, which may be ended."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

WAITING = """
import asyncio, sys, time
from shared.telemetry import process

process.STOP_DEADLINE_S = 0.3

async def work(stop):
    print("up", flush=True)
    await stop.wait()
    if sys.argv[1] == "hangs":
        await asyncio.Event().wait()
    if sys.argv[1] == "blocks":
        time.sleep(60)
    print("finished", flush=True)

process.run(work)
"""


@pytest.mark.parametrize(("what", "status"), [("ends", 0), ("hangs", 1), ("blocks", 1)])
def test_a_process_ends_in_time_after_a_stop_signal(what: str, status: int) -> None:
    with subprocess.Popen([sys.executable, "-c", WAITING, what], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "up\n"
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=30) == status
        assert ("finished" in process.stdout.read()) == (status == 0)
