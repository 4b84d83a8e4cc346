"""Ends a process that stands still while there is work: Faust's consumer can die without a word."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from typing import Any, NoReturn, Protocol

LOOK_SECONDS = 2.0


class Stalled(Exception):
    """No progress while there is lag. A restart mends what a silent consumer can't."""


class Consuming(Protocol):
    """What is watched (services.features.app.FeaturesApp)."""

    async def lag(self) -> Mapping[Any, int]: ...

    def progress(self) -> Mapping[Any, int]: ...


async def watch(app: Consuming, stall_seconds: float, look_seconds: float = LOOK_SECONDS) -> NoReturn:
    """Raise Stalled once nothing was taken in for `stall_seconds` while records were waiting."""
    last, since = app.progress(), time.monotonic()
    while True:
        await asyncio.sleep(look_seconds)
        lag, now = await app.lag(), app.progress()
        if now != last or not any(lag.values()):
            last, since = now, time.monotonic()
        elif time.monotonic() - since > stall_seconds:
            raise Stalled(f"{sum(lag.values())} records waiting, none taken in for {stall_seconds:.0f} s")
