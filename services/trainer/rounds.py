"""Doing something again and again until told to stop."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from typing import TypeVar

import structlog
from prometheus_client import Counter

log = structlog.get_logger()

Result = TypeVar("Result")


def told_to_stop() -> threading.Event:
    """Set once the process gets SIGTERM or Ctrl-C."""
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    return stop


def until_stopped(
    once: Callable[[], Result],
    last: Result,
    every_s: float,
    stop: threading.Event,
    *,
    away: tuple[type[Exception], ...],
    failures: Counter,
    event: str,
) -> Result:
    """Does it until told to stop, so long after each other, and gives the last result (`last`: before the first).

    What is `away` is tried again in the next round; it is counted (`failures` has the label `result`), and logged under
    `event`.
    """
    while True:
        try:
            last = once()
        except away as error:
            failures.labels("failed").inc()
            log.warning(event, reason=str(error))
        if stop.wait(every_s):
            return last
