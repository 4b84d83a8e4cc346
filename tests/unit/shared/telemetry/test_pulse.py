"""A loop that stands still ends its process; a process that was halted as a whole goes on."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import threading
import time
from types import SimpleNamespace

import pytest

from shared.telemetry.pulse import Pulse

STUCK = """
import asyncio, sys, time
from shared.telemetry import process
from shared.telemetry.pulse import Pulse

async def work(stop):
    await asyncio.sleep(0.3)
    print("begun", flush=True)
    {then}
    print("gave way", flush=True)

process.run(work, pulse=Pulse(stuck_after_s=0.5, look_s=0.1))
"""


def program(then: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", STUCK.format(then=then)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def test_a_process_whose_loop_stands_still_ends_and_says_where() -> None:
    said, told = program("time.sleep(60)").communicate(timeout=30)
    assert said.startswith("begun\n") and "gave way" not in said
    assert "event_loop_stuck" in said
    assert "in work" in told, "the stack of the loop's thread"


def test_a_process_that_gives_way_or_is_halted_as_a_whole_goes_on() -> None:
    running = program("await asyncio.sleep(2)")
    assert running.stdout is not None
    assert running.stdout.readline() == "begun\n"
    os.kill(running.pid, signal.SIGSTOP)
    time.sleep(1.5)
    os.kill(running.pid, signal.SIGCONT)
    said, told = running.communicate(timeout=30)
    assert (said, running.returncode) == ("gave way\n", 0), told


def test_it_looks_as_often_as_its_patience_says_before_it_ends_anything() -> None:
    pulse = Pulse(stuck_after_s=15, look_s=5)
    assert [pulse.look() for _ in range(4)] == [True, True, False, False]


async def test_a_beat_between_two_looks_counts_as_life(monkeypatch: pytest.MonkeyPatch) -> None:
    """Beats and looks come when the test says so: by the clock a busy machine would leave one out."""
    slept = asyncio.Semaphore(0)

    async def sleep(_: float) -> None:
        await slept.acquire()

    monkeypatch.setattr("shared.telemetry.pulse.asyncio", SimpleNamespace(sleep=sleep))
    pulse = Pulse(stuck_after_s=15, look_s=5)
    beating = asyncio.create_task(pulse.beat())
    for _ in range(10):
        slept.release()
        await _turns()
        assert [pulse.look() for _ in range(3)] == [True, True, True], "two without a beat are not enough"
    await _turns()
    assert not pulse.look(), "nothing beats any more"
    beating.cancel()


async def _turns(count: int = 5) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


def test_whoever_watches_is_told_that_nothing_beats() -> None:
    ended = threading.Event()
    Pulse(stuck_after_s=0.2, look_s=0.05).watch(ended.set)
    assert ended.wait(60)
