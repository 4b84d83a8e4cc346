"""`make calm`: normal running at a modest rate, watched by the project's rules as they are; none may fire.

Leaves out/calm.json: every rule that went pending or fired, with its times, and what was decided meanwhile. Exit status
0 where none fired, everybody was busy, somebody looked, and nobody's memory grew.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from deploy.local.result import Result
from tests.alerts.floor import ASK_EVERY_S, ASKERS, AUDIT_EVERY_S, Floor, now
from tests.alerts.timeline import FIRING, QUIET, Change
from tests.chaos.world import World
from tests.system.prometheus import installed

OUT = Result(Path("out/calm.json"))
MINUTES, RATE = 60.0, 20
TELL_EVERY_S = 300.0
UNSEEN_S = 30.0
"""An alert that fired for less would have to clear before anybody was told."""
ENOUGH = 0.9
"""Of the purchases that the source should have brought: a system that does nothing is calm."""
MOST = 0.5
"""Of the checkouts, which ask again once they are answered: a door that answers nobody is calm too."""
WEIGHED, MOST_GROWN = ("features", "scorer"), 1.15
"""Whose memory has to be flat while customers come and go."""
AUDIT_AGE_S = 3 * AUDIT_EVERY_S
"""Of the last one, in the end."""


def main() -> None:
    parser = argparse.ArgumentParser(prog="make calm", description=__doc__)
    parser.add_argument("--minutes", type=float, default=MINUTES)
    parser.add_argument("--rate", type=int, default=RATE, help="purchases a second of the stream (%(default)s)")
    arguments = parser.parse_args()
    if not installed:
        parser.error("prometheus is not installed: it is a package of Debian")
    console = Console()
    OUT.begin()
    with (
        tempfile.TemporaryDirectory(prefix="calm-") as folder,
        Floor(Path(folder), factor=1, rate=arguments.rate) as floor,
    ):
        report = asyncio.run(_watch(floor, arguments.minutes * 60, arguments.rate, console))
    OUT.leave(report)
    console.print_json(data=report)
    raise SystemExit(0 if report["passed"] else 1)


async def _watch(floor: Floor, seconds: float, rate: int, console: Console) -> dict[str, Any]:
    asking = asyncio.create_task(floor.ask())
    try:
        await World.works(floor.world)
        floor.ledger.process.start()
        began = now()
        early: dict[str, float] = {}
        while (left_s := began + seconds - now()) > 0:
            await asyncio.sleep(min(TELL_EVERY_S, left_s, seconds / 3))
            if not early and now() - began >= seconds / 3:
                early = floor.resident_mb(*WEIGHED)
            states = [f"{one.rule.alert} {one.state}" for one in floor.timeline.changes]
            console.print(f"{(now() - began) / 60:.0f} min; {', '.join(states) or 'quiet'}")
        decided, answered = round(floor.streamed(now() - began)), round(floor.answered(now() - began))
        late = floor.resident_mb(*WEIGHED)
        grown = {name: late[name] / early[name] for name in WEIGHED if name in early and name in late}
        looking, audit_age_s = floor.on_lookers(), floor.audit_age_s()
        broken = floor.prometheus.broken_rules()
    finally:
        asking.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await asking
    gap_s = floor.timeline.longest_gap_s(began, began + seconds)
    asked = seconds * ASKERS / ASK_EVERY_S
    seen = Seen(decided, answered, gap_s, looking, audit_age_s, rate * seconds, asked, grown, broken)
    return report_of(floor.timeline.changes, began, seconds, seen)


@dataclass(frozen=True)
class Seen:
    """What there was to see, and whether somebody saw it."""

    decided: int
    """Purchases of the stream. What checkouts asked about is no part of it: they ask whether or not the source is
    there, and their decisions are on the same topic, some of them twice."""
    answered: int
    """Checkouts, with a decision."""
    unseen_s: float
    """The longest time in which Prometheus didn't say how its alerts are."""
    looking: Mapping[str, bool]
    """Which of audits, guard and monitor were there in the end: without them most of what they tell of can't fire."""
    audit_age_s: float | None
    """Of the last audit, in the end."""
    wanted: float
    """Purchases that the source should have brought."""
    asked: float
    """Checkouts at most, were each answered at once."""
    grown: Mapping[str, float]
    """What each of `WEIGHED` held in memory in the end, to what it had held after a third of the time."""
    broken_rules: Sequence[str] = ()
    """That Prometheus could not work out, in the end."""

    @property
    def enough(self) -> bool:
        audited = self.audit_age_s is not None and self.audit_age_s < AUDIT_AGE_S
        busy = self.decided >= ENOUGH * self.wanted > 0 and self.answered >= MOST * self.asked > 0
        seen = self.unseen_s < UNSEEN_S and all(self.looking.values()) and audited and not self.broken_rules
        return busy and seen and self.flat

    @property
    def flat(self) -> bool:
        return self.grown.keys() == set(WEIGHED) and max(self.grown.values()) <= MOST_GROWN


def report_of(changes: list[Change], began: float, seconds: float, watched: Seen) -> dict[str, Any]:
    """Passed: no rule fired, also before the time began to count, and enough was seen to say so."""
    seen = [
        {
            "alert": change.rule.alert,
            "severity": change.rule.severity,
            "state": change.state,
            "at_seconds": round(change.at - began, 1),
        }
        for change in changes
        if change.state != QUIET
    ]
    fired = [each for each in seen if each["state"] == FIRING]
    return {
        "minutes": round(seconds / 60, 1),
        "stream_decisions": watched.decided,
        "checkouts_answered": watched.answered,
        "memory_grown": {name: round(times, 3) for name, times in watched.grown.items()},
        "alerts": seen,
        "longest_unseen_seconds": round(watched.unseen_s, 1),
        "looking": dict(watched.looking),
        "broken_rules": list(watched.broken_rules),
        "last_audit_seconds_ago": None if watched.audit_age_s is None else round(watched.audit_age_s),
        "passed": not fired and watched.enough,
    }


if __name__ == "__main__":
    main()
