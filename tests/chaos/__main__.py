"""`make chaos`: every fault into a running system, the ledger after each; then the controls, which it has to catch.

Leaves out/chaos.json; exit status 0 where every fault was survived and every control caught.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import random
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from aiokafka.errors import KafkaError
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table

from deploy.local.result import Result
from shared.kafka.errors import TransientError
from tests.chaos.audited import shortcomings
from tests.chaos.checkouts import Checkouts
from tests.chaos.faults import BY_NAME, FAULTS, Fault
from tests.chaos.negative_controls import CONTROLS
from tests.chaos.world import RATE, World

OUT = Result(Path("out/chaos.json"))
INVARIANTS = tuple(f"P{number}" for number in range(1, 9))
FAULTS_OF_A_SYSTEM = 4
"""Then a new one: each audit reads the whole log, which grows by some thousands of events with every fault."""

SETTLE_S = 100.0
"""Then everything has to be caught up with, whatever was hit."""
AUDIT_S, HEAVY_AUDIT_S = 300.0, 900.0
"""That an audit may take, beside the load: some milliseconds of a slow machine for an event. A heavy fault leaves tens
of thousands."""

START_S = 20.0
"""Until a new system works."""


def main() -> None:
    parser = argparse.ArgumentParser(prog="make chaos", description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--fault", action="append", choices=sorted(BY_NAME), help="only these; may be repeated")
    parser.add_argument("--rate", type=int, default=RATE, help="purchases a second of the steady load (%(default)s)")
    parser.add_argument("--control", action="append", choices=sorted(CONTROLS), help="only these; may be repeated")
    parser.add_argument("--no-controls", action="store_true")
    arguments = parser.parse_args()
    # Brokers are taken away on purpose: hundreds of lines about it would hide the rows.
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    console = Console()
    some = arguments.fault or arguments.control
    chosen = [BY_NAME[name] for name in arguments.fault or ()] if some else list(FAULTS)
    controls = () if arguments.no_controls else tuple(arguments.control or CONTROLS)
    plan = _plan(chosen, arguments.seed)
    expected_s = sum(fault.seconds for fault in chosen) + (len(plan) + 2 * len(controls)) * START_S
    console.print(
        f"{len(chosen)} faults on {len(plan)} systems, {len(controls)} controls: about {expected_s / 60:.0f} min"
    )
    OUT.begin()
    with Run(console, expected_s) as run:
        rows = asyncio.run(faults(chosen, arguments.seed, run, rate=arguments.rate))
        OUT.leave(rows)
        for name in controls:
            rows.append(asyncio.run(control(name, arguments.seed, run, rate=arguments.rate)))
            OUT.leave(rows)
    console.print(_table(rows))
    raise SystemExit(0 if all(row["passed"] for row in rows) else 1)


class Run:
    """How far it has come, on a terminal: seconds that the faults done so far were expected to take, against all."""

    def __init__(self, console: Console, expected_s: float) -> None:
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.percentage:.0f} %"),
            TimeElapsedColumn(),
            TextColumn("left: {task.fields[left]}"),
            console=console,
            disable=not console.is_terminal,
        )
        self._expected_s, self._done_s, self._began = expected_s, 0.0, time.monotonic()
        self._task: TaskID = self._bar.add_task("chaos", total=expected_s, left="…")
        self._console = console

    def __enter__(self) -> Run:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def begins(self, name: str) -> None:
        self._bar.update(self._task, description=name)

    def did(self, seconds: float, line: str = "") -> None:
        """`seconds`: what it was expected to take."""
        self._done_s += seconds
        pace = (time.monotonic() - self._began) / max(self._done_s, 1.0)
        left_min = max(0.0, self._expected_s - self._done_s) * pace / 60
        self._bar.update(self._task, completed=self._done_s, left=f"about {left_min:.0f} min")
        if line:
            self._console.print(line)


def _plan(chosen: Sequence[Fault], seed: int) -> list[list[Fault]]:
    """Which faults meet on one system, in an order drawn by the seed; the heavy ones come last on theirs."""
    order = list(chosen)
    random.Random(seed).shuffle(order)
    plan = []
    for brokers in sorted({fault.brokers for fault in order}):
        alike = [fault for fault in order if fault.brokers == brokers]
        systems = -(-len(alike) // FAULTS_OF_A_SYSTEM)
        light = [fault for fault in alike if not fault.heavy]
        heavy = [fault for fault in alike if fault.heavy]
        plan += [light[number::systems] + heavy[number::systems] for number in range(systems)]
    return plan


async def faults(chosen: Sequence[Fault], seed: int, run: Run, *, rate: int = RATE) -> list[dict[str, Any]]:
    """Each fault once; what one leaves behind meets the next on the same system."""
    rows = []
    for number, alike in enumerate(_plan(chosen, seed)):
        rows += await _on_one_system(alike, seed + number * FAULTS_OF_A_SYSTEM, seed, run, rate)
    return rows


async def _on_one_system(
    chosen: Sequence[Fault], dice_seed: int, seed: int, run: Run, rate: int
) -> list[dict[str, Any]]:
    rows = []
    run.begins("a new system")
    with (
        tempfile.TemporaryDirectory(prefix="chaos-") as folder,
        World(Path(folder), dice_seed, brokers=chosen[0].brokers, rate=rate) as world,
    ):
        await world.works()
        run.did(START_S)
        async with Checkouts(world.system.http, world.system.stack.kafka.bootstrap_servers) as checkouts:
            for fault in chosen:
                run.begins(fault.name)
                row = await one(fault, world, checkouts, seed)
                run.did(fault.seconds, _line(row, world.notes))
                world.notes.clear()
                rows.append(row)
    return rows


def _line(row: dict[str, Any], notes: Sequence[str]) -> str:
    if not row["passed"]:
        return "\n     ".join([f"FAIL {row['fault']}: {row['trouble']}", *notes])
    return "\n     ".join([f"ok   {row['fault']} ({row['recovery_seconds']} s)", *notes])


async def one(fault: Fault, world: World, checkouts: Checkouts, seed: int) -> dict[str, Any]:
    trouble: Any = None
    invariants: dict[str, bool | None] = dict.fromkeys(INVARIANTS)
    recovery: float | None = None
    try:
        await fault.inject(world)
        healed = time.monotonic()
        await fault.recovered(world)
        recovery = round(time.monotonic() - healed, 1)
    except Exception as error:  # noqa: BLE001 - whatever goes wrong is this fault's row; the others go on
        trouble = f"{type(error).__name__}: {error}"
    told = checkouts.so_far()
    try:
        patience = HEAVY_AUDIT_S if fault.heavy else AUDIT_S
        report = await asyncio.to_thread(world.system.ledger, quiet=True, patience=patience, settle=SETTLE_S)
        invariants = {name: report["invariants"].get(name, {}).get("balanced") for name in INVARIANTS}
        unbalanced = [
            [*each["examples"][:3], *each["not_checkable_examples"][:3]]
            for each in report["invariants"].values()
            if not each["balanced"]
        ]
        belied = await checkouts.unlike_the_topic(told, fault.refusals)
        unbalanced += [[lacking] for lacking in [*shortcomings(report), *belied]]
    except (OSError, ValueError, KafkaError, TransientError, subprocess.TimeoutExpired) as error:
        unbalanced = [[f"no audit: {error!r}"]]
    return {
        "fault": fault.name,
        "seed": seed,
        "service": fault.service,
        "invariants": invariants,
        "recovery_seconds": recovery,
        "passed": trouble is None and not unbalanced,
        "trouble": trouble or unbalanced,
    }


async def control(name: str, seed: int, run: Run, *, rate: int = RATE) -> dict[str, Any]:
    """A system with one safeguard switched off, and what that safeguard is for: the ledger has to find just that."""
    chosen = CONTROLS[name]
    settings = {"CHAOS_CONTROL": name}
    run.begins(f"control {name}")
    with (
        tempfile.TemporaryDirectory(prefix="chaos-") as folder,
        World(Path(folder), seed, settings, rate=rate) as world,
    ):
        await world.works()
        await chosen.harm(world)
        await world.works()
        report = await asyncio.to_thread(world.system.ledger, quiet=True)
    invariants = {each: report["invariants"].get(each, {}).get("balanced") for each in INVARIANTS}
    missed = chosen.missed(invariants)
    run.did(2 * START_S, f"FAIL control {name}: missed by {missed}" if missed else f"ok   control {name}")
    return {
        "fault": f"control: {name}",
        "seed": seed,
        "service": chosen.service,
        "invariants": invariants,
        "recovery_seconds": None,
        "passed": not missed,
        "trouble": f"the ledger did not notice: {missed}" if missed else None,
    }


def _table(rows: Sequence[dict[str, Any]]) -> Table:
    table = Table(title="chaos", box=None, padding=(0, 1, 0, 0), pad_edge=False)
    table.add_column("fault", min_width=max((len(row["fault"]) for row in rows), default=0))
    for column in ("hits", *INVARIANTS, "after", ""):
        table.add_column(column, no_wrap=True)
    marks = {True: "✓", False: "✗", None: "–"}
    for row in rows:
        recovery = "" if row["recovery_seconds"] is None else f"{row['recovery_seconds']:.1f} s"
        held = [marks[row["invariants"][name]] for name in INVARIANTS]
        table.add_row(row["fault"], row["service"], *held, recovery, "passed" if row["passed"] else "FAILED")
    return table


if __name__ == "__main__":
    main()
