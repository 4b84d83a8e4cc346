"""`make year`: a simulated year through the running system, whose models look after themselves.

Purchases of a year are streamed day by day, as fast as they are decided and their models looked after; labels mature in
the stream's own time. On known days the world changes: first who buys what (drift of the attributes), then who
defaults (drift of the law itself). Nobody interferes. Leaves out/year.json and a picture of the whole story; exit
status 0 where it went as promised.
"""

from __future__ import annotations

import argparse
import asyncio
import shutil
import sys
import tempfile
from collections.abc import Awaitable, Callable, Mapping
from datetime import date, timedelta
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from deploy.local.ports import free_ports
from deploy.local.processes import ManagedProcess
from deploy.local.progress import HistoryProgress
from deploy.local.result import Result
from services.ledger.log_reader import LogReader
from tests.e2e.system import System, until
from tests.year import story
from tests.year.drawing import draw
from tests.year.plan import YearPlan
from tests.year.turnstile import Turnstile

OUT = Result(Path("out/year.json"))
PICTURE = Path("out/year.png")
PATIENCE_S = 3 * 3600.0
SETTLE_S = 900.0
WATCH_EVERY_S = 0.5
AHEAD = timedelta(days=2)
"""Of the latest look, the stream may be. A look comes once the stream is a day further, at any hour of it: with less,
each would wait for the other."""


def main() -> None:
    plan = YearPlan.of(_arguments())
    console = Console()
    OUT.begin()
    with tempfile.TemporaryDirectory(prefix="year-") as folder:
        found = asyncio.run(run(plan, Path(folder), console))
    OUT.leave(found)
    draw(found, PICTURE)
    console.print(story.table(found))
    broken = story.broken_promises(found)
    for each in broken:
        console.print(f"[red]{each}[/]")
    raise SystemExit(1 if broken else 0)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make year", description=__doc__)
    parser.add_argument("--days", type=int, default=365)
    parser.add_argument("--daily", type=int, default=2500)
    parser.add_argument("--attributes", type=int, default=159, metavar="DAY", help="of the change of who buys what")
    parser.add_argument("--law", type=int, default=190, metavar="DAY", help="of the change of who defaults")
    parser.add_argument("--seed", type=int, default=7)
    return parser.parse_args()


async def run(plan: YearPlan, folder: Path, console: Console) -> dict[str, Any]:
    """The year, and what came of it."""
    hidden = folder / "hidden.jsonl"
    settings = {
        "SIMULATOR__HIDDEN_FILE": str(hidden),
        "SIMULATOR__REGIME": plan.regime,
        "TRAINER__REPORTS": str(folder / "reports"),
        "LOG__FORMAT": "json",
        "TRAINER__LIFECYCLE__GUARD_HOURS": "8",  # an hour of the stream passes in less time than such a look takes
    }
    with System(folder, ("simulator", "features", "scorer", "sink"), settings) as system:
        (port,) = free_ports(1)
        turnstile = Turnstile(system.settings["SIMTOM__URL"], plan.first + AHEAD)
        watch = _process(system, "watch", "trainer", ["watch", "--every", str(WATCH_EVERY_S)])
        reader = _process(system, "reader", "ingestor", plan.backfill, {"SIMTOM__URL": f"http://127.0.0.1:{port}"})
        looks = story.Looks(watch.log_file)

        async def seen() -> date | None:
            assert watch.running, f"the loop ended with {watch.exit_code}"
            if (day := looks.latest()) is not None:
                await turnstile.let_through(day + AHEAD)
            return day

        async def seen_to_the_end() -> bool:
            day = await seen()
            # Looks are a day apart, and the last purchase of the year comes before its midnight.
            return day is not None and day >= plan.last - timedelta(days=1)

        watch.start()
        try:
            async with turnstile.serving(port):
                reader.start()
                await _streamed(system, reader, plan, seen, console)
            await until(seen_to_the_end, "the last look", SETTLE_S)
        finally:
            reader.stop()
            watch.stop()
            for process in (watch, reader):
                shutil.copy(process.log_file, OUT.path.parent / f"year-{process.name}.log")
        report = await asyncio.to_thread(system.ledger, patience=SETTLE_S)
        return story.told(plan, system, watch.log_file, hidden) | {"ledger_balanced": report["balanced"]}


async def _streamed(
    system: System, reader: ManagedProcess, plan: YearPlan, seen: Callable[[], Awaitable[object]], console: Console
) -> None:
    """Until every purchase of the year is decided and in the warehouse. `seen`: lets through what is due."""
    log = LogReader({"bootstrap_servers": system.stack.kafka.bootstrap_servers})
    await log.start()
    progress = HistoryProgress(log, expected=plan.days * plan.daily)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(),
               TextColumn("left:"), TimeRemainingColumn())  # fmt: skip
    try:
        with Progress(*columns, console=console, refresh_per_second=1) as bars:
            progress.show(bars)

            async def settled() -> bool:
                await seen()
                await progress.update()
                if reader.running:
                    return False
                assert reader.exit_code == 0, f"the year's reader ended with {reader.exit_code}"
                progress.all_ingested()
                return progress.settled

            await until(settled, "the year to be decided and in the warehouse", PATIENCE_S)
    finally:
        await log.close()


def _process(
    system: System, name: str, service: str, arguments: list[str], settings: Mapping[str, str] | None = None
) -> ManagedProcess:
    return ManagedProcess(
        name,
        [sys.executable, "-m", f"services.{service}", *arguments],
        log_file=system.data_dir / "logs" / f"{name}.log",
        environment={**system.environment, **(settings or {})},
    )


if __name__ == "__main__":
    main()
