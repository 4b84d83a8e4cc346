"""`make soak`: kill -9 again and again, at moments drawn by the seed, under 300 purchases a second; then the ledger.

Leaves out/soak.json; exit status 0 where the ledger balanced each time, every kill hit a process that was ready, and
there was the load. A thousand kills take about an hour.
"""

from __future__ import annotations

import argparse
import asyncio
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from aiokafka.errors import KafkaError
from rich.console import Console
from rich.progress import Progress

from deploy.local.result import Result
from shared.kafka.errors import TransientError
from tests.chaos.audited import shortcomings
from tests.chaos.checkouts import Checkouts
from tests.chaos.world import World
from tests.e2e.system import PATIENCE_SECONDS, until

OUT = Result(Path("out/soak.json"))
RATE = 300
VICTIMS = ("features", "scorer", "sink", "ingestor")
LONGEST_PAUSE_S = 3.0
KILLS_OF_A_SYSTEM = 100
"""Then the ledger, and a new system: an audit reads the whole log, which grows by a thousand events with each kill."""
LEAST_SHARE = 0.5
"""Of the purchases that the rate would bring in the time of the kills, those that have to be decided. A quarter of the
kills hit the ingestor, which brings nothing until it is back: of a thousand kills each hundred decided 0.50 to 0.62 of
the rate, with the time of the audit counted in, which isn't here."""
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
    passed = all(row["passed"] for row in rows)
    kills, events = sum(sum(row["kills"].values()) for row in rows), sum(row["decisions"] for row in rows)
    console.print(f"{kills} kills, {events:,} decisions: {'balanced' if passed else 'FAILED, see ' + str(OUT)}")
    raise SystemExit(0 if passed and kills == arguments.kills else 1)


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
        "balanced" if row["passed"] else f"FAILED, {row['trouble'] or [*row['imbalance'], *row['shortcomings']]}"
    )


async def _one_system(world: World, count: int, on_kill: Callable[[], None]) -> dict[str, Any]:
    """A hundred kills, and what came of them. What goes wrong is this system's row; the others go on."""
    killed: Counter[str] = Counter()
    began, report, trouble = time.monotonic(), NO_AUDIT, None
    loaded_s, belied = 0.0, ["no checkout was compared"]
    try:
        await world.works()
        async with Checkouts(world.system.http, world.system.stack.kafka.bootstrap_servers) as checkouts:
            loaded = time.monotonic()
            await _kill(world, count, killed, on_kill)
            await world.works()
            loaded_s = time.monotonic() - loaded
            told = checkouts.so_far()
            report = await asyncio.to_thread(world.system.ledger, quiet=True, patience=AUDIT_S)
            belied = await checkouts.unlike_the_topic(told)
    except (AssertionError, OSError, ValueError, KafkaError, TransientError, subprocess.TimeoutExpired) as error:
        trouble = f"{type(error).__name__}: {error}"
    return row_of(killed, count, round(time.monotonic() - began), loaded_s, report, belied, trouble)


def row_of(
    killed: Counter[str],
    wanted: int,
    seconds: int,
    loaded_s: float,
    report: dict[str, Any],
    belied: Sequence[str],
    trouble: str | None,
) -> dict[str, Any]:
    """As out/soak.json has it. `wanted`: kills; `loaded_s`: while there were kills; `belied`: what the topic says
    otherwise than checkouts were told."""
    decisions = report["invariants"]["P2"]["checked"]
    lacking = [] if trouble else [*shortcomings(report), *belied]
    if decisions < (least := round(LEAST_SHARE * RATE * loaded_s)):
        lacking.append(f"{decisions:,} decisions in {loaded_s:.0f} s, fewer than {least:,}")
    if killed.total() != wanted:
        lacking.append(f"{killed.total()} kills, not {wanted}")
    return {
        "kills": dict(killed),
        "seconds": seconds,
        "loaded_seconds": round(loaded_s),
        "decisions": decisions,
        "balanced": report["balanced"],
        "imbalance": [each["examples"][:5] for each in report["invariants"].values() if not each["balanced"]],
        "shortcomings": lacking,
        "trouble": trouble,
        "passed": bool(report["balanced"]) and not lacking and trouble is None,
    }


async def _kill(world: World, count: int, killed: Counter[str], on_kill: Callable[[], None]) -> None:
    for _ in range(count):
        await world.wait(0.0, LONGEST_PAUSE_S)
        name = await _ready(world, world.dice.sample(VICTIMS, len(VICTIMS)))
        world.process(name).kill()
        killed[name] += 1
        on_kill()


async def _ready(world: World, names: Sequence[str]) -> str:
    """The first of them that is ready: one that is still starting has nothing in hand that a kill could take. Waiting
    for a certain one would take as long as its start."""
    found: list[str] = []

    async def one_is() -> bool:
        found[:] = [name for name in names if await asyncio.to_thread(_is_ready, world, name)][:1]
        return bool(found)

    await until(one_is, f"one of {', '.join(names)} to be ready", PATIENCE_SECONDS)
    return found[0]


def _is_ready(world: World, name: str) -> bool:
    return world.system.supervisor.service(name).ready() and world.process(name).running


if __name__ == "__main__":
    main()
