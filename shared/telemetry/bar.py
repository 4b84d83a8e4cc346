"""A bar for days that are worked through, on standard error where that is a terminal; nothing otherwise."""

from __future__ import annotations

import logging
import sys
from types import TracebackType
from typing import Any, Self, TextIO

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn


class DayBar:
    """Log lines are written above it while it is up; the log tells the days in any case."""

    def __init__(self, title: str, unit: str, total: int | None, console: Console | None = None, **fields: Any) -> None:
        """`title` and `unit`: rich's templates, which may name the `fields`."""
        console = console or Console(stderr=True)
        self._bar = Progress(
            TextColumn(title),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn(unit),
            TimeElapsedColumn(),
            TextColumn("left:"),
            TimeRemainingColumn(),
            console=console,
            disable=not console.is_terminal,
        )
        self._task = self._bar.add_task(title, total=total, **fields)

    def __enter__(self) -> Self:
        before = sys.stderr
        self._bar.start()
        _move_logs(before, sys.stderr)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        during = sys.stderr
        self._bar.stop()
        _move_logs(during, sys.stderr)

    def show(self, completed: int, **changes: Any) -> None:
        """`changes`: of the fields, or of the total."""
        self._bar.update(self._task, completed=completed, **changes)


def _move_logs(old: TextIO, new: TextIO) -> None:
    """While the bar is up, `sys.stderr` is a proxy that writes above it; a log handler keeps the one it began with."""
    for handler in logging.getLogger().handlers:
        if isinstance(handler, logging.StreamHandler) and handler.stream is old:
            handler.setStream(new)
