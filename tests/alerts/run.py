"""Faults into a running system, one after the other, and whether the alerts of each fire and clear."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from tests.alerts.faults import Fault
from tests.alerts.floor import Floor, now
from tests.alerts.rules import rules_of
from tests.alerts.timeline import Rule
from tests.chaos.world import World

FIRE_S = 60.0
"""After a fault is over: an alert on what came late is behind it."""
LONGEST_RANGE_S = 6 * 3600
"""Of the rules that have to forget a fault before they clear; what looks back three days also looks back six hours."""
SLACK_S = 90.0
"""Beyond that, for scrapes, evaluations, and services that start again."""


@dataclass
class Outcome:
    """One rule under one fault. Times are of the monotonic clock."""

    rule: Rule
    fault: str
    began: float
    ended: float
    fired: float | None = None
    cleared: float | None = None
    trouble: str | None = None

    @property
    def passed(self) -> bool:
        return self.fired is not None and self.cleared is not None and self.trouble is None

    def row(self) -> dict[str, Any]:
        """`fired_seconds`: from the fault's beginning; `cleared_seconds`: from its end, or from when it fired if that
        was later."""
        after = max(self.ended, self.fired or 0.0)
        return {
            "alert": self.rule.alert,
            "severity": self.rule.severity,
            "fault": self.fault,
            "fired_seconds": None if self.fired is None else round(self.fired - self.began, 1),
            "cleared_seconds": None if self.cleared is None else round(self.cleared - after, 1),
            "passed": self.passed,
            "trouble": self.trouble,
        }


async def run(
    floor: Floor,
    faults: Sequence[Fault],
    tell: Callable[[str], None],
    keep: Callable[[Sequence[Outcome]], None] = lambda _: None,
) -> list[Outcome]:
    """All of them; what fires for longer than its fault lasts is waited for at the end. `keep`: given what there is
    after each, while it isn't known yet which have cleared, and in the end."""
    asking = asyncio.create_task(floor.ask())
    patience_s = floor.scaled(LONGEST_RANGE_S) + SLACK_S
    try:
        await World.works(floor.world)
        outcomes: list[Outcome] = []
        for fault in faults:
            found = await _one(floor, fault, patience_s)
            outcomes += found
            for outcome in found:
                tell(_line(outcome))
            keep(outcomes)
        deadline = now() + patience_s
        for outcome in outcomes:
            await _cleared(floor, outcome, deadline)
        keep(outcomes)
        return outcomes
    finally:
        asking.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await asking


async def _one(floor: Floor, fault: Fault, patience_s: float) -> list[Outcome]:
    rules = [rule for alert in fault.alerts for rule in rules_of(alert)]
    trouble = None
    floor.began = now()
    try:
        if not fault.begun:
            await floor.quiet(rules, patience_s)
        floor.began = now()
        await fault.inject(floor)
        ended = now()
        await floor.fires(*fault.alerts, patience_s=FIRE_S)
    except Exception as error:  # noqa: BLE001 - whatever goes wrong is this fault's row; the others go on
        trouble, ended = f"{type(error).__name__}: {error}", now()
    return [
        Outcome(
            rule, fault.name, floor.began, ended, floor.timeline.first(rule, floor.began, firing=True), None, trouble
        )
        for rule in rules
    ]


async def _cleared(floor: Floor, outcome: Outcome, deadline: float) -> None:
    if outcome.fired is None:
        return
    since = max(outcome.ended, outcome.fired)
    with contextlib.suppress(AssertionError):
        await floor.clears_rule(outcome.rule, since=since, patience_s=max(0.0, deadline - now()))
    outcome.cleared = floor.timeline.first(outcome.rule, since, firing=False)


def _line(outcome: Outcome) -> str:
    row = outcome.row()
    fired = "did not fire" if row["fired_seconds"] is None else f"fired after {row['fired_seconds']} s"
    return f"{row['alert']} ({row['severity']}): {fired}; {row['fault']}" + (
        f"\n     {outcome.trouble}" if outcome.trouble else ""
    )
