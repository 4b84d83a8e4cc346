"""`make availability`: steady checkouts and events while every service is restarted in turn once, and killed once.

Two scorers stand behind a balancer, one of everything else; all are kept running by the supervisor. The checkouts are
calls of the client that we ship. Leaves out/availability.json; exit status 0 where every call was answered with a
decision of its own, few of them by the fallback, never nobody for long, each process came back, the load was there, and
the ledger balanced.
"""

from __future__ import annotations

import argparse
import asyncio
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import httpx
from flit_risk import FlitRisk
from rich.console import Console
from rich.progress import Progress

from deploy.local.processes import StartFailed
from deploy.local.result import Result
from tests.availability.balancer import Backend, Balancer
from tests.availability.calls import PATIENCE_S, Caller, Calls
from tests.availability.pair import SECOND, Pair
from tests.availability.plan import ROLLING_RESTART, Event, draw
from tests.load.purchases import Purchases

OUT = Result(Path("out/availability.json"))
MINUTES, EVENTS, CALLS = 60.0, 50, 10
"""In an hour 216,000 purchases, all of which the ledger reads afterwards."""
GREATEST_EVENTS, GREATEST_CALLS = 300, 100
"""Two cores carry all of it, both scorers and the callers."""

PROCESSES = ("scorer", SECOND, "features", "sink", "ingestor")
"""In the order of the rolling restart: as a deployment does it, one after the other."""

DEGRADED_S = 15.0
"""How long the fallback may answer after a process is back: until it has partitions, model and what it needs of Redis,
on a machine that does all of it. At any other time nobody has a reason to."""
P99_S, SLOWEST_S = 2.0, 6.0
"""Of a call, with all of its attempts. A door that hangs for as long as a call may take in all would be more."""
WORST_GAP_S = 3.0
"""Of two doors one is always open, and what is cut off is asked again at the other after a fraction of a second. So no
gap lasts as long as a process takes to come back; the rest is for a machine on which one is starting."""
LEAST_DECIDED = 0.9
"""Of all that was to come. The ingestor is away twice, for some seconds, and brings nothing meanwhile."""

AUDIT_S = 3600.0

Step = Callable[[str], None]


def main() -> None:
    parser = argparse.ArgumentParser(prog="make availability", description=__doc__)
    parser.add_argument("--minutes", type=float, default=MINUTES, help="(%(default)s)")
    parser.add_argument("--events", type=int, default=EVENTS, help=f"a second (%(default)s; to {GREATEST_EVENTS})")
    parser.add_argument("--calls", type=int, default=CALLS, help=f"a second (%(default)s; to {GREATEST_CALLS})")
    parser.add_argument("--seed", type=int, default=1, help="draws the moments (%(default)s)")
    arguments = parser.parse_args()
    if arguments.minutes <= 0:
        parser.error("--minutes must be greater than 0")
    if not 1 <= arguments.events <= GREATEST_EVENTS or not 1 <= arguments.calls <= GREATEST_CALLS:
        parser.error(f"--events must be from 1 to {GREATEST_EVENTS}, --calls from 1 to {GREATEST_CALLS}")
    console = Console()
    OUT.begin()
    try:
        made = run(arguments.minutes * 60, arguments.events, arguments.calls, arguments.seed, console)
    except (StartFailed, AssertionError) as error:
        OUT.leave({"passed": False, "trouble": str(error)})
        console.print(f"availability: FAILED, {error}", markup=False)
        raise SystemExit(1) from None
    OUT.leave(made)
    console.print(closing(made), markup=False, soft_wrap=True)
    raise SystemExit(0 if made["passed"] else 1)


def run(seconds: float, events: int, rate: int, seed: int, console: Console) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="availability-") as folder:
        with console.status("training a model, starting the system, warming it"):
            pair = Pair(Path(folder), events)
            pair.start()
        try:
            plan = draw(PROCESSES, seconds, seed)
            with Progress(console=console) as progress:
                task = progress.add_task(f"{rate} calls/s, {events} events/s", total=seconds)
                calls, happened, lost = _under_load(
                    pair, plan, seconds, rate, lambda passed: progress.update(task, completed=passed), console.print
                )
            with console.status("the ledger"):
                pair.retire_the_source()
                report = _audit(pair)
        finally:
            pair.stop()
    return result(calls, happened, lost, report, {"seconds": seconds, "events": events, "calls": rate, "seed": seed})


def _audit(pair: Pair) -> dict[str, Any]:
    """The ledger's report; one that does not balance where there is none."""
    try:
        asyncio.run(pair.loaded.settled())
        return pair.loaded.ledger(quiet=True, patience_s=AUDIT_S)
    except (AssertionError, OSError, ValueError, subprocess.TimeoutExpired) as error:
        return {"balanced": False, "invariants": {}, "trouble": repr(error)}


def _under_load(
    pair: Pair, plan: Sequence[Event], seconds: float, rate: int, tick: Callable[[float], None], step: Step
) -> tuple[Calls, list[dict[str, Any]], int]:
    """The calls, what happened meanwhile, and how many attempts got no answer."""
    backends = [Backend(httpx.URL(url), port) for url, port in pair.doors]
    balancer = Balancer(backends)
    happened: list[dict[str, Any]] = []
    with FlitRisk("http://checkout", pair.loaded.key, patience_s=PATIENCE_S, transport=balancer) as client:
        caller = Caller(client, Purchases(), rate)
        caller.start()
        began = time.monotonic()
        try:
            for event in plan:
                _wait_until(began + event.at_s, began, tick)
                happened.append(_do(event, pair, time.monotonic() - began))
                step(_line(happened[-1]))
                if happened[-1]["back_after_s"] is None:
                    break
            else:
                _wait_until(began + seconds, began, tick)
        finally:
            calls = caller.stop()
        return calls, happened, balancer.lost


def _wait_until(moment: float, began: float, tick: Callable[[float], None]) -> None:
    while (left := moment - time.monotonic()) > 0:
        tick(time.monotonic() - began)
        time.sleep(min(left, 0.5))


def _do(event: Event, pair: Pair, at_s: float) -> dict[str, Any]:
    """Do it, and wait until all that it hit is ready again; `back_after_s` is None where it isn't in time."""
    began = time.monotonic()
    try:
        if event.kind == ROLLING_RESTART:
            for name in PROCESSES:
                pair.restart(name)
        else:
            pair.crash(event.process)
        back_s: float | None = round(time.monotonic() - began, 1)
    except AssertionError:
        back_s = None
    return {"at_s": round(at_s, 1), "kind": event.kind, "process": event.process, "back_after_s": back_s}


def _line(happened: dict[str, Any]) -> str:
    what = happened["kind"] if not happened["process"] else f"{happened['kind']} of {happened['process']}"
    back_s = happened["back_after_s"]
    return f"{happened['at_s']:7.1f} s  {what}: " + ("NOT BACK" if back_s is None else f"back after {back_s:.1f} s")


def result(
    calls: Calls, happened: Sequence[dict[str, Any]], lost: int, report: dict[str, Any], asked: dict[str, Any]
) -> dict[str, Any]:
    """As out/availability.json has it."""
    decisions = report["invariants"].get("P2", {}).get("checked")
    lacking = shortcomings(calls, happened, asked, decisions or 0)
    return {
        "asked": asked,
        "calls": calls.sent,
        "answered": calls.answered,
        "share": calls.share,
        "failed": dict(calls.failed),
        "degraded": len(calls.degraded_at),
        "attempts_without_an_answer": lost,
        "worst_gap_s": calls.worst_gap_s,
        "p99_ms": calls.percentile_s(0.99) * 1000,
        "slowest_ms": calls.percentile_s(1.0) * 1000,
        "happened": list(happened),
        "decisions": decisions,
        "ledger_balanced": report["balanced"],
        "trouble": report.get("trouble"),
        "shortcomings": lacking,
        "passed": not lacking and bool(report["balanced"]),
    }


def shortcomings(calls: Calls, happened: Sequence[dict[str, Any]], asked: dict[str, Any], decisions: int) -> list[str]:
    """Why the run doesn't pass, apart from the ledger; empty: it does."""
    found = []
    if len(happened) != len(PROCESSES) + 1 or any(each["back_after_s"] is None for each in happened):
        found.append("not everything happened, or not every process came back")
    if not calls.sent or calls.answered != calls.sent:
        found.append(f"{calls.answered} of {calls.sent} calls were answered")
    excused = [
        (calls.began + each["at_s"], calls.began + each["at_s"] + each["back_after_s"] + DEGRADED_S)
        for each in happened
        if each["back_after_s"] is not None
    ]
    if odd := sum(not any(first <= moment <= last for first, last in excused) for moment in calls.degraded_at):
        found.append(f"{odd} answers were the fallback's while nothing had happened")
    for share, name, most_s in ((0.99, "p99", P99_S), (1.0, "slowest", SLOWEST_S)):
        if (took_s := calls.percentile_s(share)) > most_s:
            found.append(f"{name} of the calls: {took_s:.1f} s, more than {most_s:.0f}")
    if calls.worst_gap_s > WORST_GAP_S:
        found.append(f"nobody was answered for {calls.worst_gap_s:.1f} s")
    least = LEAST_DECIDED * (asked["events"] + asked["calls"]) * (calls.ended - calls.began)
    if decisions < least:
        found.append(f"{decisions:,} decisions, fewer than {least:,.0f}")
    return found


def closing(made: dict[str, Any]) -> str:
    return (
        f"availability: {'passed' if made['passed'] else 'FAILED'}, {made['calls']:,} calls, {made['answered']:,} "
        f"answered ({made['share']:.4%}), worst gap {made['worst_gap_s']:.2f} s, slowest {made['slowest_ms']:.0f} ms, "
        f"{made['degraded']:,} degraded, ledger {'balanced' if made['ledger_balanced'] else 'NOT BALANCED'}; {OUT}"
        + "".join(f"\n  {lacking}" for lacking in made["shortcomings"])
    )


if __name__ == "__main__":
    main()
