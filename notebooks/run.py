"""`make research`: the data, the notebooks, the reports. The composition root of the research.

Notebooks are kept as scripts with cells (jupytext's percent format), so that a change can be read and checked like any
other; what is executed and shown is a Jupyter notebook, left in `out/research`.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from tempfile import TemporaryDirectory

import jupytext
import nbclient
import nbformat
import traitlets
from jupyter_client.manager import AsyncKernelManager
from nbclient.exceptions import CellExecutionError
from rich.console import Console

from deploy.local.backfill import Backfill, BackfillSettings
from deploy.local.processes import StartFailed
from notebooks.kit.study import TEST_DAYS
from shared.feature_definitions import FEATURE_SET_VERSION

HERE = Path(__file__).parent
DATA, OUT, REPORTS = Path(".local/research"), Path("out/research"), Path("docs/research")
CELL_SECONDS = 900
PLACEHOLDER = re.compile(r"\{\{([\w-]+)\.(\w+)\}\}")
PICTURE = re.compile(r"\]\(figures/([\w-]+)--(\w+)\.png\)")

TODAY_DAY = 144
"""On which 60 days have matured: 60 + 84."""


@dataclass(frozen=True, slots=True)
class Source:
    """A history to study."""

    generator: str
    days: int
    daily: int


SOURCES = (Source("bnpl", TODAY_DAY + TEST_DAYS, 5_000), Source("bnpl_history", 90, 1_000))
FIRST_DAY = date(2026, 1, 1)
AS_OF = "2027-01-01"
"""When every purchase's outcome is known: notebooks take from that what they allow themselves to know."""


class KernelByFile(AsyncKernelManager):
    """Talks to its kernel over sockets in the file system: nobody else on this machine can."""

    @traitlets.default("transport")
    def _by_file(self) -> str:
        return "ipc"

    @traitlets.default("ip")
    def _in_a_folder_of_its_own(self) -> str:
        """What the sockets' names begin with; the folder goes with this manager."""
        self._folder = TemporaryDirectory(prefix="kernel-")
        return str(Path(self._folder.name) / "socket")


class ReportIncomplete(Exception):
    """A report names something that no notebook has recorded."""


def settings_of(source: Source, data: Path) -> BackfillSettings:
    return BackfillSettings.model_validate(
        {
            "start": FIRST_DAY,
            "end": date.fromordinal(FIRST_DAY.toordinal() + source.days - 1),
            "daily": source.daily,
            "generator": source.generator,
            "as_of": AS_OF,
            "BACKFILL_DATA_DIR": data / source.generator,
            "BACKFILL_OUT": OUT / f"{source.generator}.json",
        }
    )


@contextmanager
def warehouse(data: Path, console: Console) -> Iterator[dict[str, str]]:
    """Both histories read and loaded; the environment of a process that is to study them."""
    for source in SOURCES[1:]:
        with Backfill(settings_of(source, data), console).opened() as other:
            once(other, source)
    with Backfill(settings_of(SOURCES[0], data), console).opened() as studied:
        once(studied, SOURCES[0])
        yield study_environment(studied)


def once(backfill: Backfill, source: Source) -> None:
    """Run a backfill, unless this very one has been run here."""
    marker = backfill.settings.data_dir / "complete"
    wanted = f"{source} {FIRST_DAY} {AS_OF} {FEATURE_SET_VERSION}"
    if not marker.exists() or marker.read_text() != wanted:
        backfill.run()
        marker.write_text(wanted)


def study_environment(studied: Backfill) -> dict[str, str]:
    """Of a process that is to study the histories."""
    return {
        **studied.bigquery.environment(),
        "RESEARCH_DATA": str(studied.settings.data_dir.parent.absolute()),
        "RESEARCH_OUT": str(OUT.absolute()),
        "MLFLOW_TRACKING_URI": f"sqlite:///{(OUT / 'mlflow.db').absolute()}",
        "PYTHONPATH": str(Path.cwd()),
        # Sums in one order, whatever machine this is.
        "OMP_NUM_THREADS": "2",
    }


def notebooks(only: str | None) -> list[Path]:
    return [path for path in sorted(HERE.glob("[0-9]*.py")) if only is None or only in path.stem]


def execute(path: Path, environment: Mapping[str, str]) -> float:
    """Run a notebook from its first cell to its last; the seconds that it took. Raises CellExecutionError; what was
    run until then is kept all the same."""
    notebook = jupytext.read(path)
    client = nbclient.NotebookClient(
        notebook,
        kernel_manager_class=KernelByFile,
        kernel_name="python3",
        timeout=CELL_SECONDS,
        resources={"metadata": {"path": str(Path.cwd())}},
    )
    started = time.monotonic()
    try:
        client.execute(env={**os.environ, **environment})
    finally:
        nbformat.write(notebook, OUT / f"{path.stem}.ipynb")
    return time.monotonic() - started


def write_reports(out: Path, reports: Path) -> list[Path]:
    """Fill the reports with what the notebooks have recorded. Raises ReportIncomplete where something isn't there: no
    figure stands in a report that doesn't come from the run."""
    known = {path.parent.name: json.loads(path.read_text()) for path in out.glob("*/figures.json")}

    def figure(found: re.Match[str]) -> str:
        notebook, name = found.groups()
        try:
            return str(known[notebook][name])
        except KeyError:
            raise ReportIncomplete(f"{notebook} has recorded no {name}") from None

    (reports / "figures").mkdir(parents=True, exist_ok=True)
    written = []
    for template in sorted((HERE / "reports").glob("*.md")):
        text = PLACEHOLDER.sub(figure, template.read_text())
        for notebook, name in PICTURE.findall(text):
            picture = out / notebook / f"{name}.png"
            if not picture.is_file():
                raise ReportIncomplete(f"{notebook} has drawn no {name}")
            shutil.copy(picture, reports / "figures" / f"{notebook}--{name}.png")
        (reports / template.name).write_text(text)
        written.append(reports / template.name)
    return written


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m notebooks.run", description="From data to reports.")
    parser.add_argument("--only", help="notebooks whose name holds this; then no reports are written")
    only = parser.parse_args().only
    console = Console()
    OUT.mkdir(parents=True, exist_ok=True)
    if only is None:
        (OUT / "mlflow.db").unlink(missing_ok=True)
    try:
        with warehouse(DATA, console) as environment:
            for path in notebooks(only):
                with console.status(f"running {path.name}"):
                    seconds = execute(path, environment)
                console.print(f"[green]✓[/] {path.stem} ({seconds:.0f} s)")
        for report in write_reports(OUT, REPORTS) if only is None else ():
            console.print(f"[green]✓[/] {report}")
    except (StartFailed, CellExecutionError, ReportIncomplete) as error:
        sys.exit(f"research failed: {error}")


if __name__ == "__main__":
    main()
