"""Where the time of a measured service goes, as a flame graph.

With `FLAMES=1 make bench` each service leaves one for the benchmark that it ran in, of several processes the last one:
out/flames/<benchmark>-<service>.svg. Rates are then those of processes that are looked at 99 times a second: take them
without.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

OUT = Path("out/flames")
WANTED = os.environ.get("FLAMES", "") not in ("", "0")
A_SECOND = 99
"""Not a hundred: what a program does by the clock would be seen always or never."""

PATIENCE_S = 60.0
"""For writing the picture."""


class Flames:
    """The pictures of one run of benchmarks."""

    def __init__(self) -> None:
        self.benchmark = "bench"
        """The one that runs: whoever runs them says so."""

    @contextmanager
    def of(self, pid: int, service: str) -> Iterator[None]:
        """What the process does while the block runs, idle threads left out. Nothing unless `WANTED`.

        py-spy needs the right to trace processes. It doesn't halt the process to look at it: a benchmark that stops its
        workers while it prepares a round would be waited for. Raises RuntimeError where it leaves no picture.
        """
        if not WANTED:
            yield
            return
        target = OUT / f"{self.benchmark}-{service}.svg"
        target.parent.mkdir(parents=True, exist_ok=True)
        target.unlink(missing_ok=True)
        program = shutil.which("py-spy", path=str(Path(sys.executable).parent)) or "py-spy"
        command = [
            program,
            "record",
            "--nonblocking",
            "--rate",
            str(A_SECOND),
            "--pid",
            str(pid),
            "--output",
            str(target),
        ]
        watching = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        try:
            yield
        finally:
            watching.send_signal(signal.SIGINT)
            _, said = watching.communicate(timeout=PATIENCE_S)
        if not target.exists():
            raise RuntimeError(f"py-spy left no picture of {service}: {said.strip()[-500:]}")


FLAMES = Flames()
