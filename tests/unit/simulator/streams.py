"""Streams in this process, read to their end."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

import numpy as np

from services.simulator.hidden import HiddenFile
from services.simulator.request import StreamRequest
from services.simulator.stream import Stream
from services.simulator.worlds import GENERATORS, Worlds

TODAY = datetime(2026, 11, 23, 12, 0, 0)  # noqa: DTZ001 - the server speaks naive times


def request(**keys: Any) -> StreamRequest:
    """A history of two days unless `keys` say otherwise."""
    return StreamRequest.model_validate(
        {"start_date": "2026-06-01", "end_date": "2026-06-02", "base_daily_volume": 300, "seed": 7} | keys
    )


def open_stream(
    asked: StreamRequest,
    generator: str = "bnpl",
    *,
    today: datetime = TODAY,
    worlds: Worlds | None = None,
    hidden: HiddenFile | None = None,
) -> Stream:
    seeds = np.random.SeedSequence(asked.effective_seed).spawn(4)
    built = (worlds or Worlds("continued")).generator(GENERATORS[generator], asked, seeds[:2])
    return Stream(asked, built, seeds[2:], clock=lambda: today, day_pause_s=0.0, hidden=hidden)


async def body(asked: StreamRequest, generator: str = "bnpl", **parts: Any) -> list[bytes]:
    """The chunks of a history."""
    assert asked.days is not None
    return [chunk async for chunk in open_stream(asked, generator, **parts).history(*asked.days)]


async def history(asked: StreamRequest, generator: str = "bnpl", **parts: Any) -> list[dict[str, Any]]:
    """The events of a history."""
    return parse(await body(asked, generator, **parts))


def parse(chunks: list[bytes]) -> list[dict[str, Any]]:
    return [json.loads(chunk.removeprefix(b"data: ")) for chunk in chunks]
