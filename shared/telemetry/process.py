"""A process's edge: signals in, exit status out."""

from __future__ import annotations

import asyncio
import contextlib
import faulthandler
import os
import signal
import sys
import threading
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

import structlog

from shared.kafka.errors import GaveUp, TransientError
from shared.telemetry.pulse import Pulse

log = structlog.get_logger()

EXIT_FAILED = 1

STOP_DEADLINE_S = 25.0
"""Below the 30 s after which an orchestrator kills. A client may wait for brokers that don't answer for as long as it
likes; what isn't finished by then comes again, for nothing rests on an orderly stop."""

FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.2, 5.0

T = TypeVar("T")


async def patiently(call: Callable[[], Awaitable[T]], stop: asyncio.Event) -> T | None:
    """Make a call that may raise TransientError until it succeeds; None where `stop` was set first."""
    pause = FIRST_PAUSE_S
    while not stop.is_set():
        try:
            return await call()
        except TransientError as error:
            log.warning("waiting_for_dependency", error=str(error))
            await sleep_unless(stop, pause)
            pause = min(2 * pause, LONGEST_PAUSE_S)
    return None


async def sleep_unless(stop: asyncio.Event, seconds: float) -> None:
    """Until `stop` is set, and so long at most."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await stop.wait()


async def first_of(*waiting: Awaitable[Any]) -> None:
    """Wait until the first of them is done; cancel the others; raise what it raised."""
    tasks = [asyncio.ensure_future(one) for one in waiting]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    for task in done:
        task.result()


async def or_else_end(watching: Awaitable[Any]) -> None:
    """Await what ends the process by raising: from then on the others have `STOP_DEADLINE_S` to come to their end."""
    try:
        await watching
    except Exception:
        _set_deadline()
        raise


def _set_deadline() -> None:
    # In a thread: a loop that is held up would never get to it.
    deadline = threading.Timer(STOP_DEADLINE_S, _give_up)
    deadline.daemon = True
    deadline.start()


async def _main(work: Callable[[asyncio.Event], Awaitable[None]], pulse: Pulse | None) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()

    def begin_to_stop() -> None:
        if not stop.is_set():
            _set_deadline()
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, begin_to_stop)
    if pulse is None:
        await work(stop)
        return
    beating = asyncio.create_task(pulse.beat())
    pulse.watch(_stuck)
    try:
        await work(stop)
    finally:
        pulse.stop()
        beating.cancel()


def _give_up() -> None:
    log.error("stop_given_up", seconds=STOP_DEADLINE_S)
    os._exit(EXIT_FAILED)


def _stuck() -> None:
    log.error("event_loop_stuck")
    faulthandler.dump_traceback(sys.stderr)  # where it stands
    os._exit(EXIT_FAILED)


def run(
    work: Callable[[asyncio.Event], Awaitable[None]],
    runner: Callable[[Coroutine[Any, Any, None]], None] = asyncio.run,
    *,
    pulse: Pulse | None = None,
) -> None:
    """Run `work` until it returns. SIGTERM and SIGINT set its event: it then finishes its batch and leaves, or is ended
    with status 1 after `STOP_DEADLINE_S`.

    An error that nobody caught is logged (GaveUp in one line, any other with its traceback) and ends the process with
    status 1, for the supervisor to start it again.
    `runner`: such as `uvloop.run`. `pulse`: ends it, too, where its event loop stands still; for those that never work
    for long without giving way.
    """
    # A crash in a library's native code leaves where it happened in the log, not only an exit status.
    faulthandler.enable()
    try:
        runner(_main(work, pulse))
    except Exception as error:
        ends = _leaves(error)
        if all(isinstance(end, GaveUp) for end in ends):
            for end in ends:
                log.error("gave_up", because=type(end).__name__, error=str(end))
        else:
            log.exception("stopped_by_error")
        raise SystemExit(EXIT_FAILED) from None


def _leaves(error: BaseException) -> list[BaseException]:
    """The errors in a group of errors, at any depth; a single one as it is."""
    if isinstance(error, BaseExceptionGroup):
        return [leaf for inner in error.exceptions for leaf in _leaves(inner)]
    return [error]
