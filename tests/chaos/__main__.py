"""`make chaos`: every fault into a running system, the ledger after each; then the controls, which it has to catch.

Leaves out/chaos.json; exit status 0 where every fault was survived and every control caught.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from tests.chaos.faults import BY_NAME, FAULTS, Fault
from tests.chaos.world import World

OUT = Path("out/chaos.json")
INVARIANTS = tuple(f"P{number}" for number in range(1, 9))
FAULTS_OF_A_SYSTEM = 7
"""Then a new one: each audit reads the whole log, which grows by some thousands of events with every fault."""

KILLS_UNDER_WAY = 3
"""Between two lingers of the control's producer one of them hits nothing; three in a row don't."""


def main() -> None:
    parser = argparse.ArgumentParser(prog="make chaos", description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--fault", action="append", choices=sorted(BY_NAME), help="only these; may be repeated")
    parser.add_argument("--no-controls", action="store_true")
    arguments = parser.parse_args()
    console = Console()
    chosen = [BY_NAME[name] for name in arguments.fault] if arguments.fault else list(FAULTS)
    rows = asyncio.run(faults(chosen, arguments.seed, console))
    if not arguments.no_controls:
        rows += [asyncio.run(control(name, arguments.seed, console)) for name in CONTROLS]
    OUT.parent.mkdir(exist_ok=True)
    OUT.write_text(json.dumps(rows, indent=2) + "\n")
    console.print(_table(rows))
    raise SystemExit(0 if all(row["passed"] for row in rows) else 1)


async def faults(chosen: Sequence[Fault], seed: int, console: Console) -> list[dict[str, Any]]:
    """Each fault once, in an order drawn by the seed; what one leaves behind meets the next on the same system."""
    order = list(chosen)
    random.Random(seed).shuffle(order)
    rows = []
    for brokers in sorted({fault.brokers for fault in order}):
        alike = [fault for fault in order if fault.brokers == brokers]
        for start in range(0, len(alike), FAULTS_OF_A_SYSTEM):
            rows += await _on_one_system(alike[start : start + FAULTS_OF_A_SYSTEM], seed + start, seed, console)
    return rows


async def _on_one_system(chosen: Sequence[Fault], dice_seed: int, seed: int, console: Console) -> list[dict[str, Any]]:
    rows = []
    with (
        tempfile.TemporaryDirectory(prefix="chaos-") as folder,
        World(Path(folder), dice_seed, brokers=chosen[0].brokers) as world,
    ):
        await world.works()
        for fault in chosen:
            row = await one(fault, world, seed)
            console.print(f"{'ok  ' if row['passed'] else 'FAIL'} {fault.name} ({row['recovery_seconds']} s)")
            rows.append(row)
    return rows


async def one(fault: Fault, world: World, seed: int) -> dict[str, Any]:
    trouble = None
    started = time.monotonic()
    try:
        await fault.inject(world)
        healed = time.monotonic()
        await world.works()
    except AssertionError as error:
        trouble, healed = str(error), started
    recovery = time.monotonic() - healed
    report = await asyncio.to_thread(world.system.ledger, quiet=True)
    invariants = {name: report["invariants"].get(name, {}).get("balanced") for name in INVARIANTS}
    return {
        "fault": fault.name,
        "seed": seed,
        "service": fault.service,
        "invariants": invariants,
        "recovery_seconds": round(recovery, 1),
        "passed": trouble is None and all(value is not False for value in invariants.values()),
        "trouble": trouble or [each["examples"][:3] for each in report["invariants"].values() if not each["balanced"]],
    }


async def _repeat_purchases(world: World) -> None:
    records = world.purchases("control", 40)
    await world.produce("bnpl-transactions", records)
    await world.works()
    await world.produce("bnpl-transactions", records)
    await world.produce("bnpl-transactions", world.purchases("control-after", 1))
    later = world.purchases("control", 60)[40:]
    await world.produce("bnpl-transactions", later)


async def _kill_in_flight(world: World) -> None:
    for _ in range(KILLS_UNDER_WAY):
        await world.works()
        await world.wait(0.0, 1.0)
        world.process("features").kill()


async def _two_at_once(world: World) -> None:
    """A process that is stopped past its session, and awake again beside the one that took over."""
    await BY_NAME["zombie-features"].inject(world)


CONTROLS = {
    "no-deduplication": _repeat_purchases,
    "no-acknowledgements": _kill_in_flight,
    "no-fencing": _two_at_once,
}


async def control(name: str, seed: int, console: Console) -> dict[str, Any]:
    """A system with one safeguard switched off, and what that safeguard is for: the ledger has to find it."""
    settings = {"CHAOS_CONTROL": name}
    with tempfile.TemporaryDirectory(prefix="chaos-") as folder, World(Path(folder), seed, settings) as world:
        await world.works()
        await CONTROLS[name](world)
        await world.works()
        report = await asyncio.to_thread(world.system.ledger, quiet=True)
    invariants = {each: report["invariants"].get(each, {}).get("balanced") for each in INVARIANTS}
    caught = not report["balanced"]
    console.print(f"{'ok  ' if caught else 'FAIL'} control {name}")
    return {
        "fault": f"control: {name}",
        "seed": seed,
        "service": "features",
        "invariants": invariants,
        "recovery_seconds": None,
        "passed": caught,
        "trouble": None if caught else "the ledger did not notice",
    }


def _table(rows: Sequence[dict[str, Any]]) -> Table:
    table = Table(title="chaos")
    for column in ("fault", "hits", *INVARIANTS, "recovered", ""):
        table.add_column(column)
    marks = {True: "✓", False: "✗", None: "–"}
    for row in rows:
        recovery = "" if row["recovery_seconds"] is None else f"{row['recovery_seconds']:.1f} s"
        held = [marks[row["invariants"][name]] for name in INVARIANTS]
        table.add_row(row["fault"], row["service"], *held, recovery, "passed" if row["passed"] else "FAILED")
    return table


if __name__ == "__main__":
    main()
