"""`make capacity`: measure what a purchase costs, into deploy/capacity/measured.json and docs/operations/capacity.md.

`make capacity-check`: predict from those figures what three loads use, and measure it. Leaves out/capacity.json; exit
status 0 where the model is within 20% everywhere. Both start the system themselves, and want the machine for
themselves.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from pathlib import Path

from rich.console import Console
from rich.table import Table

from deploy.capacity import page
from deploy.capacity.__main__ import NOT_MEASURED
from deploy.capacity.figures import MEASURED, read, write
from deploy.local.processes import StartFailed
from deploy.local.result import Result
from tests.capacity.compare import MOST_APART, Compared, compare
from tests.capacity.loads import PACED_S
from tests.capacity.measure import measure
from tests.load.driving import LocustFailed
from tests.load.running import LoadedSystem

OUT = Result(Path("out/capacity.json"))


def main() -> None:
    parser = argparse.ArgumentParser(prog="make capacity", description=__doc__)
    parser.add_argument("command", choices=["measure", "check"])
    parser.add_argument("--seconds", type=float, default=PACED_S, help="of each paced load (%(default)s)")
    arguments = parser.parse_args()
    console = Console()
    command = _measure if arguments.command == "measure" else _check
    try:
        raise SystemExit(command(arguments.seconds, console))
    except (StartFailed, LocustFailed, AssertionError, RuntimeError) as error:
        console.print(f"capacity {arguments.command}: FAILED, {error}", markup=False)
        raise SystemExit(1) from None


@contextmanager
def _system(console: Console) -> Iterator[tuple[LoadedSystem, Path]]:
    """A running one, and a folder for what the clients leave."""
    with ExitStack() as running:
        folder = Path(running.enter_context(tempfile.TemporaryDirectory(prefix="capacity-")))
        with console.status("training a model, starting the system, warming it"):
            loaded = running.enter_context(LoadedSystem(folder))
        with console.status("under load, some minutes"):
            yield loaded, folder


def _measure(seconds: float, console: Console) -> int:
    with _system(console) as (loaded, folder):
        figures = measure(loaded, folder, console.print, seconds)
    write(figures)
    page.main("write")
    console.print(f"capacity: measured; written: {MEASURED.name}, {page.PAGE.name}", markup=False)
    return 0


def _check(seconds: float, console: Console) -> int:
    figures = read()
    if figures is None:
        console.print(NOT_MEASURED)
        return 1
    OUT.begin()
    with _system(console) as (loaded, folder):
        found = compare(figures, loaded, folder, console.print, seconds)
    return _tell(found, console)


def _tell(found: Sequence[Compared], console: Console) -> int:
    rows = [{**asdict(each), "apart": each.apart, "close": each.close} for each in found]
    OUT.leave(rows)
    table = Table(title="the model against the system", title_justify="left")
    for column in ("load", "what", "unit", "predicted", "measured", "apart"):
        table.add_column(column, justify="right" if column in ("predicted", "measured", "apart") else "left")
    for each in found:
        table.add_row(each.load, each.what, each.unit, *(_short(value) for value in (each.predicted, each.measured)),
                      f"{each.apart:+.1%}")  # fmt: skip
    console.print(table)
    furthest = max(found, key=lambda each: abs(each.apart))
    verdict = "passed" if all(each.close for each in found) else "FAILED"
    console.print(
        f"capacity check: {verdict}, furthest {furthest.apart:+.1%} ({furthest.what} at {furthest.load}), "
        f"allowed {MOST_APART:.0%}; {OUT}",
        markup=False,
        soft_wrap=True,
    )
    return 0 if verdict == "passed" else 1


def _short(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3f}"


if __name__ == "__main__":
    main()
