"""`make soak`: kill -9 again and again, at moments drawn by the seed, under 300 purchases a second; then the ledger.

Leaves out/soak.json; exit status 0 where the ledger balanced each time. A thousand kills take about two hours.
"""

from __future__ import annotations

import argparse
import asyncio
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import Progress

from tests.chaos.world import World
from tests.result import Result

OUT = Result(Path("out/soak.json"))
RATE = 300
VICTIMS = ("features", "scorer", "sink", "ingestor")
LONGEST_PAUSE_S = 3.0
KILLS_OF_A_SYSTEM = 100
"""Then the ledger, and a new system: an audit reads the whole log, which grows by a thousand events with each kill."""
AUDIT_S = 900.0
NO_AUDIT: dict[str, Any] = {"balanced": False, "invariants": {"P2": {"checked": 0, "balanced": True}}}


def main() -> None:
    parser = argparse.ArgumentParser(prog="make soak", description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--kills", type=int, default=1000)
    arguments = parser.parse_args()
    console = Console()
    OUT.begin()
    with Progress(console=console) as progress:

        def keep(rows: list[dict[str, Any]]) -> None:
            OUT.leave(rows)
            console.print(told(rows[-1]), markup=False)

        rows = asyncio.run(soak(arguments.kills, arguments.seed, progress, keep))
    balanced = all(row["balanced"] for row in rows)
    kills, events = sum(sum(row["kills"].values()) for row in rows), sum(row["decisions"] for row in rows)
    console.print(f"{kills} kills, {events:,} decisions: {'balanced' if balanced else 'NOT BALANCED, see ' + str(OUT)}")
    raise SystemExit(0 if balanced else 1)


async def soak(
    kills: int, seed: int, progress: Progress, keep: Callable[[list[dict[str, Any]]], None]
) -> list[dict[str, Any]]:
    """A row for each system. `keep`: given them all after each."""
    task = progress.add_task("kills", total=kills)
    rows = []
    for start in range(0, kills, KILLS_OF_A_SYSTEM):
        count = min(KILLS_OF_A_SYSTEM, kills - start)
        settings = {"INGESTOR__RATE": str(RATE)}
        with (
            tempfile.TemporaryDirectory(prefix="soak-") as folder,
            World(Path(folder), seed + start, settings) as world,
        ):
            rows.append(await _one_system(world, count, lambda: progress.advance(task)))
        keep(rows)
    return rows


def told(row: dict[str, Any]) -> str:
    kills = sum(row["kills"].values())
    return f"{kills} kills in {row['seconds']} s, {row['decisions']:,} decisions: " + (
        "balanced" if row["balanced"] else f"NOT BALANCED, {row['trouble'] or row['imbalance']}"
    )


async def _one_system(world: World, count: int, on_kill: Callable[[], None]) -> dict[str, Any]:
    """A hundred kills, and what came of them. What goes wrong is this system's row; the others go on."""
    killed: Counter[str] = Counter()
    began, report, trouble = time.monotonic(), NO_AUDIT, None
    try:
        await world.works()
        await _kill(world, count, killed, on_kill)
        await world.works()
        report = await asyncio.to_thread(world.system.ledger, quiet=True, patience=AUDIT_S)
    except (AssertionError, OSError, ValueError, subprocess.TimeoutExpired) as error:
        trouble = f"{type(error).__name__}: {error}"
    return {
        "kills": dict(killed),
        "seconds": round(time.monotonic() - began),
        "decisions": report["invariants"]["P2"]["checked"],
        "balanced": report["balanced"],
        "imbalance": [each["examples"][:5] for each in report["invariants"].values() if not each["balanced"]],
        "trouble": trouble,
    }


async def _kill(world: World, count: int, killed: Counter[str], on_kill: Callable[[], None]) -> None:
    for _ in range(count):
        await world.wait(0.0, LONGEST_PAUSE_S)
        name = world.dice.choice(VICTIMS)
        process = world.process(name)
        await world.until(lambda process=process: process.running, f"{name} to be started again")  # type: ignore[misc]
        process.kill()
        killed[name] += 1
        on_kill()


if __name__ == "__main__":
    main()
