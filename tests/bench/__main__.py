"""`make bench`: ours and its peers side by side, in one run on this machine. Leaves out/bench.json.

What fails is said and leaves no finding; the others go on, and the run ends with a status of 1.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
import traceback
from pathlib import Path

from rich.console import Console

from deploy.local.result import Result
from tests.bench import agreement, report
from tests.bench.features import features
from tests.bench.flames import FLAMES
from tests.bench.history import history
from tests.bench.latency import latency
from tests.bench.memory import memory
from tests.bench.report import Finding
from tests.bench.rest import rest
from tests.bench.scale import scale
from tests.bench.scoring import scoring
from tests.bench.sink import sink
from tests.bench.start import start
from tests.bench.state import state
from tests.bench.stream import stream

OUT = Result(Path("out/bench.json"))
ROUNDS = 5
WIDTH = 170
"""Of the table: a line for each benchmark, also where nobody looks at it on a terminal."""
BENCHMARKS = {
    "features": features,
    "history": history,
    "state": state,
    "rest": rest,
    "scoring": scoring,
    "stream": stream,
    "sink": sink,
    "latency": latency,
    "scale": scale,
    "memory": memory,
    "start": start,
}


def main() -> None:
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("--only", action="append", choices=sorted(BENCHMARKS), help="may be repeated")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="interleaved, of each (%(default)s)")
    parser.add_argument("--against", type=Path, metavar="FILE", help="an earlier run's bench.json: do both agree?")
    arguments = parser.parse_args()
    earlier = None if arguments.against is None else json.loads(arguments.against.read_text())
    console = Console()
    if not console.is_terminal:
        console = Console(width=WIDTH)
    found: list[Finding] = []
    failed: list[str] = []
    OUT.begin()
    for name in arguments.only or BENCHMARKS:
        FLAMES.benchmark = name
        began = time.monotonic()
        with console.status(f"{name}: starting") as status:
            try:
                found += BENCHMARKS[name](arguments.rounds, lambda done, name=name: status.update(f"{name}: {done}"))  # type: ignore[misc]
            except Exception:  # noqa: BLE001 - whatever it is: it has to be said, and the others are worth having
                traceback.print_exc()
                failed.append(name)
            OUT.leave(report.lines_of(found))
        console.print(f"{name}: {'failed after ' if name in failed else ''}{time.monotonic() - began:.0f} s")
    console.print(report.table(found))
    apart = 0
    if earlier is not None:
        compared = agreement.compared(earlier, report.lines_of(found))
        console.print(agreement.table(compared))
        apart = sum(not each.agree for each in compared)
    if failed:
        sys.exit(f"without a finding: {', '.join(failed)}")
    if apart:
        sys.exit(f"{apart} ratios don't come out again within {agreement.WITHIN:.0%}")


if __name__ == "__main__":
    main()
