"""Progress of a history on a terminal: days done, events, and when it will be over."""

from __future__ import annotations

import logging
import sys
from datetime import date
from types import TracebackType
from typing import TextIO

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn


class TerminalProgress:
    """A bar on standard error where that is a terminal, nothing otherwise: the log tells the days in any case."""

    def __init__(self, start: date, end: date, console: Console | None = None) -> None:
        self._start = start
        console = console or Console(stderr=True)
        self._bar = Progress(
            TextColumn("history to {task.fields[day]}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("days, {task.fields[events]:,} events"),
            TimeElapsedColumn(),
            TextColumn("left:"),
            TimeRemainingColumn(),
            console=console,
            disable=not console.is_terminal,
        )
        self._task = self._bar.add_task("history", total=(end - start).days + 1, day=start.isoformat(), events=0)

    def __enter__(self) -> TerminalProgress:
        before = sys.stderr
        self._bar.start()
        _move_logs(before, sys.stderr)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        during = sys.stderr
        self._bar.stop()
        _move_logs(during, sys.stderr)

    def day_completed(self, day: date, events: int, acknowledged: int) -> None:
        """Days that an earlier process completed count as done."""
        self._bar.update(self._task, completed=(day - self._start).days + 1, day=day.isoformat(), events=acknowledged)


def _move_logs(old: TextIO, new: TextIO) -> None:
    """While the bar is up, `sys.stderr` is a proxy that writes above it; a log handler keeps the one it began with."""
    for handler in logging.getLogger().handlers:
        if isinstance(handler, logging.StreamHandler) and handler.stream is old:
            handler.setStream(new)
