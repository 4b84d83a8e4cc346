"""Progress of a history on a terminal: days done, events, and when it will be over."""

from __future__ import annotations

from datetime import date

from rich.console import Console

from shared.telemetry.bar import DayBar


class TerminalProgress(DayBar):
    def __init__(self, start: date, end: date, console: Console | None = None) -> None:
        self._start = start
        super().__init__(
            "history to {task.fields[day]}",
            "days, {task.fields[events]:,} events",
            (end - start).days + 1,
            console,
            day=start.isoformat(),
            events=0,
        )

    def day_completed(self, day: date, events: int, acknowledged: int) -> None:
        """Days that an earlier process completed count as done."""
        self.show((day - self._start).days + 1, day=day.isoformat(), events=acknowledged)
