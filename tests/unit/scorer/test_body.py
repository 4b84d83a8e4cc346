"""How long a body may take: the time of whoever sends it, not that in which we stood still."""

from __future__ import annotations

import asyncio
import time

import pytest

from services.scorer import body
from services.scorer.body import in_time

SECONDS = 0.05


@pytest.fixture(autouse=True)
def _soon_late(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(body, "STOOD_STILL_S", SECONDS)


async def test_who_takes_too_long_is_told() -> None:
    begun = 0

    async def read() -> None:
        nonlocal begun
        begun += 1
        await asyncio.Event().wait()

    with pytest.raises(TimeoutError):
        await in_time(read, SECONDS)
    assert begun == 1


async def test_what_has_come_while_this_process_stood_still_is_taken() -> None:
    had_come = asyncio.Event()

    async def read() -> None:
        if not had_come.is_set():
            time.sleep(3 * SECONDS)  # noqa: ASYNC251 (the whole process stands still)
            asyncio.get_running_loop().call_soon(had_come.set)
            await asyncio.Event().wait()  # as a socket that is looked at only after the alarm

    await in_time(read, SECONDS)
    assert had_come.is_set()


async def test_who_takes_too_long_after_that_as_well_is_told() -> None:
    begun = 0

    async def read() -> None:
        nonlocal begun
        begun += 1
        if begun == 1:
            time.sleep(3 * SECONDS)  # noqa: ASYNC251
        await asyncio.Event().wait()

    with pytest.raises(TimeoutError):
        await in_time(read, SECONDS)
    assert begun == 2
