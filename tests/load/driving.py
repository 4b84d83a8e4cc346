"""Locust as a process: a run of one shape against an address, and what its clients saw."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from deploy.local.processes import ManagedProcess
from tests.load.seen import Seen
from tests.load.shapes import SHAPES, Rates

LOCUSTFILE = Path(__file__).with_name("locustfile.py")
END_S = 90.0
"""For locust to start, for the last answers, and for its report."""
STOP_S = 35
"""That a user is given to end by itself: longer than it waits for one answer."""

Tick = Callable[[float], None]
"""Told the seconds since the start, some times a second."""


class LocustFailed(Exception):
    """It ended without a summary. The message holds the end of its log."""


@dataclass(frozen=True, slots=True)
class Target:
    url: str
    key: str = ""
    kafka: str = ""
    """Bootstrap servers; empty: nothing is published."""


def planned(shape: str, base: Rates, seconds: float) -> Rates:
    """How many purchases a whole run asks for, over each door."""
    factor = SHAPES[shape].factor
    moments = [base.times(factor(second + 0.5, seconds)) for second in range(int(seconds))]
    return Rates(sum(each.checkouts for each in moments), sum(each.events for each in moments))


def drive(
    target: Target, shape: str, base: Rates, seconds: float, out: Path, tick: Tick = lambda _: None
) -> list[Seen]:
    """Run it, and leave `out`.html, `out`_stats.csv and its like, `out`.log. Raises LocustFailed."""
    out.parent.mkdir(parents=True, exist_ok=True)
    summary = out.with_suffix(".seen.json")
    summary.unlink(missing_ok=True)  # a run that fails must not pass for the one before it
    environment = {
        **os.environ,
        "PYTHONPATH": str(Path.cwd()),
        "LOAD_SHAPE": shape,
        "LOAD_MINUTES": str(seconds / 60),
        "LOAD_CHECKOUTS": str(base.checkouts),
        "LOAD_EVENTS": str(base.events),
        "LOAD_KAFKA": target.kafka,
        "LOAD_KEY": target.key,
        "LOAD_SUMMARY": str(summary.resolve()),
    }
    command = [
        *(sys.executable, "-m", "locust", "--locustfile", str(LOCUSTFILE), "--headless", "--host", target.url),
        *("--html", f"{out}.html", "--csv", str(out), "--only-summary", "--stop-timeout", str(STOP_S)),
        # Its own log, in place of what else would be mixed into the progress; failures are no fault of locust.
        *("--loglevel", "WARNING", "--exit-code-on-error", "0"),
    ]  # fmt: skip
    log = out.with_suffix(".log")
    log.unlink(missing_ok=True)
    # Like every child of ours it ends with its parent, however that ends.
    locust = ManagedProcess("locust", command, log_file=log, environment=environment)
    began = time.monotonic()
    locust.start()
    try:
        while locust.running and (passed := time.monotonic() - began) <= seconds + END_S:
            tick(passed)
            time.sleep(0.2)
    finally:
        locust.kill()
    if not summary.exists():
        raise LocustFailed("locust left no summary; its log ends with:\n" + log.read_text(errors="replace")[-2000:])
    return [Seen.of(each) for each in json.loads(summary.read_text())]
