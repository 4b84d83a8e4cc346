"""`make load`: a shape of load against the whole system, which it starts itself, or against an address that is given.

Leaves out/load/SHAPE.html (locust's report), .csv files and SHAPE.json. Exit status 0 where every objective was kept,
as the services counted it and as the clients saw it, and the ledger balanced afterwards.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import subprocess
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from deploy.local.processes import StartFailed
from deploy.local.result import Result
from deploy.monitoring.kept import Kept, kept, look
from tests.load.ceiling import ceiling
from tests.load.driving import LocustFailed, Target, drive, planned
from tests.load.running import LoadedSystem
from tests.load.seen import ACKNOWLEDGED_IN_S, CHECKOUT, PUBLISH, Seen
from tests.load.shapes import SHAPES, Rates

OUT = Path("out/load")
RATE, GREATEST_RATE = 60, 120
"""Purchases a second at a shape's base. Two cores carry the services, Kafka, the warehouse's emulator and the clients:
a burst of five times the base is 300 a second then, and with the greatest more than they can."""
GREATEST_REMOTE_RATE = 2000
"""Of one locust process."""
ENOUGH = 0.95
"""Of the planned purchases: fewer, and the client could not keep up, or was held up until the end."""
QUIET_S, LAST_ONES_S = 2.0, 120.0
"""Between two looks at a system that runs already, after the last purchase; how long the last decisions may take."""
TROUBLES = (
    LocustFailed,
    StartFailed,
    AssertionError,
    RuntimeError,
    subprocess.SubprocessError,
    OSError,  # metrics that can't be read
    ValueError,  # an audit that left no report
)


@dataclass
class Run:
    """What a run found. `services`: objectives as the services counted them; `clients`: as the checkouts saw them."""

    shape: str
    base: Rates
    seconds: float
    seen: Sequence[Seen]
    services: Sequence[Kept] = ()
    clients: Sequence[Kept] = ()
    balanced: bool | None = None
    """None where there was no ledger to ask."""

    def count(self, name: str) -> int:
        return sum(each.requests for each in self.seen if each.name == name)

    @property
    def undecided(self) -> bool:
        """Whether fewer purchases of the stream were decided than were published, where the services say so: what
        never came out is late in no count of theirs."""
        decided = [each.events for each in self.services if each.objective.alert == "DecisionsLate"]
        return bool(decided) and sum(decided) < self.count(PUBLISH)

    @property
    def troubles(self) -> list[str]:
        """Why it fails; empty: it passes."""
        plan = planned(self.shape, self.base, self.seconds)
        found = [
            f"{each.objective.alert} as {who}: {_share(each.good_share)} good, not {each.objective.target:.2%}"
            for who, verdicts in (("the services counted", self.services), ("the clients saw", self.clients))
            for each in verdicts
            if not each.held
        ]
        for name, wanted in ((CHECKOUT, plan.checkouts), (PUBLISH, plan.events)):
            if self.count(name) < ENOUGH * wanted:
                missed = sum(each.missed for each in self.seen if each.name == name)
                held_up = f"{missed:,} were due and held up by others" if missed else "the client fell behind"
                found.append(f"{name}: only {self.count(name):,} of {wanted:,} planned were sent: {held_up}")
        found += [
            f"{PUBLISH}: {each.late(ACKNOWLEDGED_IN_S):,} of {each.due:,} records took longer than "
            f"{ACKNOWLEDGED_IN_S:g} s from when they were due"
            for each in self.seen
            if each.name == PUBLISH and each.acknowledged_late()
        ]
        lost = sum(each.failures for each in self.seen if each.name == PUBLISH)
        if lost:
            found.append(f"{PUBLISH}: {lost:,} records were not acknowledged")
        if self.undecided:
            found.append(f"{PUBLISH}: fewer decisions than the {self.count(PUBLISH):,} records that were published")
        if self.balanced is False:
            found.append("the ledger does not balance: out/load/ledger.json")
        return found

    def as_json(self) -> dict[str, Any]:
        return {
            "shape": self.shape,
            "base": {"checkouts": self.base.checkouts, "events": self.base.events},
            "seconds": self.seconds,
            "passed": not self.troubles,
            "troubles": self.troubles,
            "ledger_balanced": self.balanced,
            "objectives": [
                {"alert": each.objective.alert, "seen_by": who, "target": each.objective.target,
                 "events": each.events, "bad": each.bad, "kept": each.held}
                for who, verdicts in (("services", self.services), ("clients", self.clients))
                for each in verdicts
            ],
            "requests": [
                {"name": each.name, "requests": each.requests, "failures": each.failures, "missed": each.missed,
                 **{f"p{percent}_ms": each.percentile_ms(percent / 100) for percent in (50, 95, 99)}}
                for each in self.seen
            ],
        }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(prog="make load", description=__doc__)
    parser.add_argument("--shape", choices=[*SHAPES, "ceiling"], default="steady")
    parser.add_argument("--rate", type=int, help=f"purchases a second at its base ({RATE}; at most {GREATEST_RATE})")
    parser.add_argument("--minutes", type=float, help="how long (by shape)")
    parser.add_argument("--url", help="a scorer that runs already; its key in LOAD_KEY")
    parser.add_argument("--kafka", default="", help="with --url: its brokers; without them all is asked over REST")
    parser.add_argument("--metrics", action="append", default=[], help="with --url: …/metrics of a service; repeatable")
    arguments = parser.parse_args()
    if arguments.minutes is not None and arguments.minutes <= 0:
        parser.error("--minutes must be greater than 0")
    if arguments.metrics and arguments.url and not arguments.kafka:
        parser.error("--metrics wants --kafka: of a stream without records the services count nothing")
    rate = RATE if arguments.rate is None else arguments.rate
    most = GREATEST_REMOTE_RATE if arguments.url else GREATEST_RATE
    if not 2 <= rate <= most:
        parser.error(f"--rate must be from 2 to {most}")
    console, result = Console(), Result(OUT / f"{arguments.shape}.json")
    result.begin()
    try:
        if arguments.shape == "ceiling":
            raise SystemExit(ceiling(arguments.url, arguments.minutes, OUT))
        run = _against(arguments, rate, console) if arguments.url else _of_our_own(arguments, rate, console)
    except TROUBLES as error:
        result.leave({"shape": arguments.shape, "passed": False, "troubles": [str(error)]})
        console.print(f"load {arguments.shape}: FAILED, {error}", markup=False)
        raise SystemExit(1) from None
    result.leave(run.as_json())
    console.print(_table(run))
    for trouble in run.troubles:
        console.print(f"  {trouble}", markup=False, soft_wrap=True)
    console.print(_closing(run), markup=False, soft_wrap=True)
    raise SystemExit(1 if run.troubles else 0)


def _of_our_own(arguments: argparse.Namespace, rate: int, console: Console) -> Run:
    with ExitStack() as running:
        folder = Path(running.enter_context(tempfile.TemporaryDirectory(prefix="load-")))
        with console.status("training a model, starting the system, warming it"):
            loaded = running.enter_context(LoadedSystem(folder))
        before = loaded.look()
        run = _drive(Target(loaded.url, loaded.key, loaded.kafka), arguments, rate, console)
        with console.status("waiting for the last rows"):
            asyncio.run(loaded.settled())
        run.services = kept(before, loaded.look())
        report = loaded.ledger()
    Result(OUT / "ledger.json").leave(report)
    run.balanced = bool(report["balanced"])
    return run


def _against(arguments: argparse.Namespace, rate: int, console: Console) -> Run:
    before = look(arguments.metrics)
    target = Target(arguments.url, os.environ.get("LOAD_KEY", ""), arguments.kafka)
    run = _drive(target, arguments, rate, console)
    if arguments.metrics:
        with console.status("waiting for the last decisions"):
            until = time.monotonic() + LAST_ONES_S
            while True:
                run.services = kept(before, look(arguments.metrics))
                if not run.undecided or time.monotonic() > until:
                    break
                time.sleep(QUIET_S)
    return run


def _drive(target: Target, arguments: argparse.Namespace, rate: int, console: Console) -> Run:
    shape = arguments.shape
    seconds = (arguments.minutes or SHAPES[shape].minutes) * 60
    base = Rates.split(rate, events=bool(target.kafka))
    about = f"{shape}: {base.checkouts} calls/s and {base.events} events/s at its base, {seconds / 60:g} min"
    console.print(about, markup=False)
    with Progress(console=console) as progress:
        task = progress.add_task(shape, total=seconds)
        seen = drive(target, shape, base, seconds, OUT / shape, lambda passed: progress.update(task, completed=passed))
    clients = [verdict for each in seen if each.name == CHECKOUT for verdict in each.kept()]
    return Run(shape, base, seconds, seen, clients=clients)


def _share(share: float | None) -> str:
    return "nothing counted" if share is None else f"{share:.3%}"


def _table(run: Run) -> Table:
    table = Table(title=f"load: {run.shape}", title_justify="left")
    for column in ("objective", "seen by", "events", "good", "objective is", ""):
        table.add_column(column, justify="right" if column in ("events", "good", "objective is") else "left")
    for who, verdicts in (("services", run.services), ("clients", run.clients)):
        for each in verdicts:
            kept_or_not = "kept" if each.held else "BROKEN"
            share, target = _share(each.good_share), f"{each.objective.target:.2%}"
            table.add_row(each.objective.alert, who, f"{each.events:,.0f}", share, target, kept_or_not)
    return table


def _closing(run: Run) -> str:
    p99 = max((each.percentile_ms(0.99) for each in run.seen if each.name == CHECKOUT), default=0.0)
    ledger = {True: ", ledger balanced", False: ", ledger NOT BALANCED", None: ""}[run.balanced]
    verdict = "FAILED" if run.troubles else "passed"
    return (
        f"load {run.shape}: {verdict}, {run.count(CHECKOUT):,} calls (p99 {p99:.0f} ms), "
        f"{run.count(PUBLISH):,} events{ledger}; report: {OUT / run.shape}.html"
    )


if __name__ == "__main__":
    main()
