"""The turnstile of the simulated year, before a real simulator."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from datetime import date
from functools import partial

import httpx
import pytest

from tests.e2e.system import until
from tests.integration.simulator.conftest import Running, free_port
from tests.integration.simulator.test_server import HISTORY, read
from tests.year import turnstile
from tests.year.turnstile import Turnstile

REMINDER_S = 0.05


async def chunks_until_held(stream: AsyncIterator[bytes]) -> bytes:
    """What comes before a blank line more than there is between two events: it stands for a day that waits."""
    before = b""
    async for chunk in stream:
        before += chunk
        if before.endswith(b"\n\n\n"):
            return before
    raise AssertionError("the stream ended and no day was held")


def days_of(body: bytes) -> set[str]:
    frames = [frame for frame in body.split(b"\n\n") if frame.strip()]
    return {json.loads(frame.strip().removeprefix(b"data: "))["_timestamp"][:10] for frame in frames}


async def test_a_day_waits_until_it_is_let_through_and_nothing_of_it_is_lost(
    simulator: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(turnstile, "REMINDER_S", REMINDER_S)
    gate, port = Turnstile(simulator.url, date(2026, 6, 1)), free_port()
    async with gate.serving(port), httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=30) as client:
        await until(partial(answers, client), "the turnstile to answer")
        async with client.stream("POST", "/stream/bnpl", json=HISTORY) as answer:
            stream = answer.aiter_raw()
            first = await chunks_until_held(stream)
            await gate.let_through(date(2026, 6, 2))
            second = await chunks_until_held(stream)
            await gate.let_through(date(2026, 6, 3))
            rest = b"".join([chunk async for chunk in stream])
    assert [days_of(part) for part in (first, second, rest)] == [{"2026-06-01"}, {"2026-06-02"}, {"2026-06-03"}]
    whole, _ = await asyncio.to_thread(read, simulator.url, HISTORY)
    assert (first + second + rest).replace(b"\n", b"") == whole.replace(b"\n", b"")


async def answers(client: httpx.AsyncClient) -> bool:
    with contextlib.suppress(httpx.TransportError):
        await client.get("/")
        return True
    return False
