"""Where the time of a measured service goes, as a flame graph.

With `FLAMES=1 make bench` each service leaves one for the benchmark that it ran in, of several processes the last one:
out/flames/<benchmark>-<service>.svg. Rates are then those of processes that are looked at 99 times a second: take them
without.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
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
        workers while it prepares a round would be waited for. One that runs for a moment only leaves no picture, and
        says so.
        """
        if not WANTED:
            yield
            return
        target = OUT / f"{self.benchmark}-{service}.svg"
        target.parent.mkdir(parents=True, exist_ok=True)
        target.unlink(missing_ok=True)
        program = str(Path(sys.executable).with_name("py-spy"))
        command = [program, "record", "--nonblocking", f"--rate={A_SECOND}", f"--pid={pid}", f"--output={target}"]
        with tempfile.TemporaryFile() as said:
            watching = subprocess.Popen(command, stdout=said, stderr=said)
            try:
                yield
            finally:
                watching.send_signal(signal.SIGINT)
                try:
                    ended = watching.wait(PATIENCE_S)
                except subprocess.TimeoutExpired:
                    watching.kill()
                    ended = watching.wait()
                if ended:
                    target.unlink(missing_ok=True)  # py-spy leaves an empty one where it saw nothing
                    said.seek(0)
                    print(f"no picture of {service}: {said.read().decode(errors='replace').strip()[-500:]}")


FLAMES = Flames()
