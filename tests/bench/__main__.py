"""`make bench`: ours and its peers side by side, in one run on this machine. Leaves out/bench.json."""

from __future__ import annotations

import argparse
from pathlib import Path

from rich.console import Console

from tests.bench import report
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
from tests.result import Result

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
    arguments = parser.parse_args()
    console = Console()
    found: list[Finding] = []
    OUT.begin()
    for name in arguments.only or BENCHMARKS:
        FLAMES.benchmark = name
        with console.status(f"{name}: starting") as status:
            found += BENCHMARKS[name](arguments.rounds, lambda done, name=name: status.update(f"{name}: {done}"))  # type: ignore[misc]
            OUT.leave(report.lines_of(found))
    (console if console.is_terminal else Console(width=WIDTH)).print(report.table(found))


if __name__ == "__main__":
    main()
