from __future__ import annotations

import asyncio

import pytest

from shared.telemetry import process


def test_an_error_nobody_caught_ends_the_process_with_status_1() -> None:
    async def work(_: asyncio.Event) -> None:
        raise ConnectionError("gone")

    with pytest.raises(SystemExit) as stopped:
        process.run(work)
    assert stopped.value.code == 1
