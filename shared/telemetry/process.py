"""A process's edge: signals in, exit status out."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import structlog

log = structlog.get_logger()

EXIT_FAILED = 1


async def _main(work: Callable[[asyncio.Event], Awaitable[None]]) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    await work(stop)


def run(
    work: Callable[[asyncio.Event], Awaitable[None]],
    runner: Callable[[Coroutine[Any, Any, None]], None] = asyncio.run,
) -> None:
    """Run `work` until it returns. SIGTERM and SIGINT set its event: it then finishes its batch and leaves.

    An error that nobody caught is logged and ends the process with status 1, for the supervisor to start it again.
    `runner`: such as `uvloop.run`.
    """
    try:
        runner(_main(work))
    except Exception:
        log.exception("stopped_by_error")
        raise SystemExit(EXIT_FAILED) from None
