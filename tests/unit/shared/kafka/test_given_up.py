"""A producer that is given up lets go of everything that it holds."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from shared.kafka import producer as producer_module
from shared.kafka.producer import _close


class GivenUp:
    """As aiokafka's: its sender waits, once it is told to end, for what is in flight; its stop tells it once more."""

    def __init__(self) -> None:
        self.closed = False
        self._sender = SimpleNamespace(sender_task=asyncio.create_task(self._send()))
        self._message_accumulator: Any = SimpleNamespace(
            _batches={}, _pending_batches=set(), fail_all=lambda error: None
        )

    async def _send(self) -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            await asyncio.Event().wait()  # of brokers that don't answer

    async def stop(self) -> None:
        task = self._sender.sender_task
        if not task.done():
            task.cancel()
            await task
        self.closed = True


async def test_one_whose_brokers_do_not_answer_is_closed_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(producer_module, "CLOSE_TIMEOUT_S", 0.05)
    given_up = GivenUp()
    await asyncio.sleep(0)  # its sender begins
    await _close(given_up)
    assert given_up.closed
