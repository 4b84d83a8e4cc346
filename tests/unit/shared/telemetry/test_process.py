from __future__ import annotations

import asyncio
import os
import signal

import pytest

from shared.telemetry import process


def test_sigterm_lets_the_work_finish() -> None:
    finished = []

    async def work(stop: asyncio.Event) -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        await stop.wait()
        finished.append(True)

    process.run(work)
    assert finished == [True]


def test_an_error_nobody_caught_ends_the_process_with_status_1() -> None:
    async def work(_: asyncio.Event) -> None:
        raise ConnectionError("gone")

    with pytest.raises(SystemExit) as stopped:
        process.run(work)
    assert stopped.value.code == 1
