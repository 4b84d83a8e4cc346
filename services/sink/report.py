"""A reconciliation, or a bulk load, on the terminal."""

from __future__ import annotations

from collections.abc import Sequence

import structlog
from rich.console import Console
from rich.table import Table

from services.sink.reconcile import Balance
from shared.archive import Day
from shared.telemetry.bar import DayBar

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


class LoadProgress(DayBar):
    def __init__(self, console: Console | None = None) -> None:
        super().__init__("loading {task.fields[day]}", "days", None, console, day="")

    def day_loaded(self, day: Day, through: int, days: int) -> None:
        self.show(through, total=days, day=day.name)
        log.info("day_loaded", name=day.load_id, records=day.seal.records, detail=f"{through} of {days} days")
