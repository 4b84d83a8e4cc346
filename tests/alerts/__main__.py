"""`make alerts`: a fault for each alert into a running system, by the project's rules with their time shortened.

Leaves out/alerts.json: a row for each rule, with the seconds until it fired and until it had cleared. Exit status 0
where each did both.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from deploy.local.result import Result
from tests.alerts.faults import BY_NAME, FAULTS
from tests.alerts.floor import FACTOR, RATE, Floor
from tests.alerts.run import Outcome, run
from tests.system.prometheus import installed

OUT = Result(Path("out/alerts.json"))


def main() -> None:
    parser = argparse.ArgumentParser(prog="make alerts", description=__doc__)
    parser.add_argument("--fault", action="append", choices=sorted(BY_NAME), help="only these; may be repeated")
    parser.add_argument(
        "--factor", type=float, default=FACTOR, help="by which the rules' time is shortened (%(default)s)"
    )
    parser.add_argument("--rate", type=int, default=RATE, help="purchases a second of the stream (%(default)s)")
    arguments = parser.parse_args()
    if not installed:
        parser.error("prometheus is not installed: it is a package of Debian")
    console = Console()
    chosen = [fault for fault in FAULTS if not arguments.fault or fault.name in arguments.fault]
    console.print(f"{len(chosen)} faults, the rules {arguments.factor:g} times as fast")
    whole = not all(fault.quick for fault in chosen)
    OUT.begin()
    with (
        tempfile.TemporaryDirectory(prefix="alerts-") as folder,
        Floor(Path(folder), factor=arguments.factor, rate=arguments.rate, whole=whole) as floor,
    ):
        outcomes = asyncio.run(run(floor, chosen, console.print, _leave))
    console.print(_table(outcomes))
    raise SystemExit(0 if all(outcome.passed for outcome in outcomes) else 1)


def _leave(outcomes: Sequence[Outcome]) -> None:
    OUT.leave([outcome.row() for outcome in outcomes])


def _table(outcomes: Sequence[Outcome]) -> Table:
    table = Table(title="alerts", box=None, padding=(0, 1, 0, 0), pad_edge=False)
    for column in ("alert", "severity", "fault", "fired", "cleared", ""):
        table.add_column(column, justify="right" if column in ("fired", "cleared") else "left")
    for outcome in outcomes:
        row = outcome.row()
        times = ["–" if row[name] is None else f"{row[name]} s" for name in ("fired_seconds", "cleared_seconds")]
        table.add_row(row["alert"], row["severity"], row["fault"], *times, "passed" if row["passed"] else "FAILED")
    return table


if __name__ == "__main__":
    main()
