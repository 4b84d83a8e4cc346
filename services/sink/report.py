"""A reconciliation, or a bulk load, on the terminal."""

from __future__ import annotations

from collections.abc import Sequence
from types import TracebackType

import structlog
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from services.sink.reconcile import Balance
from shared.archive import Day

log = structlog.get_logger()


def print_report(balances: Sequence[Balance], console: Console | None = None) -> None:
    """One line for each table and partition that holds anything, then the sum."""
    console = console or Console()
    table = Table(title="log and warehouse", title_justify="left")
    for name in ("table", "partition"):
        table.add_column(name)
    for name in ("records", "refused", "rows", "behind"):
        table.add_column(name, justify="right")
    table.add_column("balance", overflow="fold")
    for balance in balances:
        if balance.records or balance.behind or not balance.balanced:
            numbers = (balance.records, balance.refused, balance.rows, balance.behind)
            verdict = "[green]balanced[/]" if balance.balanced else f"[red]{balance.faults()}[/]"
            table.add_row(balance.table, str(balance.partition), *(f"{number:,}" for number in numbers), verdict)
    console.print(table)
    wrong = sum(not balance.balanced for balance in balances)
    console.print("every record has its row" if not wrong else f"{wrong} of {len(balances)} accounts don't balance")


class LoadProgress:
    """Days that are loaded: a bar where standard error is a terminal, a line of the log for each in any case."""

    def __init__(self, console: Console | None = None) -> None:
        console = console or Console(stderr=True)
        self._bar = Progress(
            TextColumn("loading {task.fields[day]}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("days"),
            TimeElapsedColumn(),
            TextColumn("left:"),
            TimeRemainingColumn(),
            console=console,
            disable=not console.is_terminal,
        )
        self._task = self._bar.add_task("load", total=None, day="")

    def __enter__(self) -> LoadProgress:
        self._bar.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._bar.stop()

    def day_loaded(self, day: Day, through: int, days: int) -> None:
        self._bar.update(self._task, completed=through, total=days, day=day.name)
        log.info("day_loaded", name=day.load_id, records=day.seal.records, detail=f"{through} of {days} days")
