"""What Prometheus says of its alerts, looked at again and again, and kept with its times."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from http.client import HTTPException
from itertools import pairwise
from typing import Any, Self

LOOK_S = 0.5

FIRING, PENDING, QUIET = "firing", "pending", "quiet"


@dataclass(frozen=True, order=True)
class Rule:
    """One alert of one severity: an objective has two."""

    alert: str
    severity: str


@dataclass(frozen=True)
class Change:
    """From `at` (seconds of the monotonic clock) on, a rule was in this state; of its alerts the worst counts."""

    at: float
    rule: Rule
    state: str


class Timeline:
    """Looks in a thread of its own, from `with` until its end."""

    def __init__(self, alerts: Callable[[], list[dict[str, Any]]]) -> None:
        """`alerts`: as /api/v1/alerts has them. A look that has no answer, or only a part of one, is left out, and
        shows as a gap between looks (`longest_gap_s`)."""
        self._alerts = alerts
        self._changes: list[Change] = []
        self._states: dict[Rule, str] = {}
        self._lock = threading.Lock()
        self._looked: list[float] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._look_on, name="timeline", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    @property
    def changes(self) -> list[Change]:
        with self._lock:
            return list(self._changes)

    def longest_gap_s(self, began: float, ended: float) -> float:
        """In which nobody looked, of the time between these moments of the monotonic clock."""
        with self._lock:
            seen = [began, *(at for at in self._looked if began <= at <= ended), ended]
        return max(later - earlier for earlier, later in pairwise(seen))

    def state(self, rule: Rule) -> str:
        with self._lock:
            return self._states.get(rule, QUIET)

    def first(self, rule: Rule, since: float, *, firing: bool) -> float | None:
        """When the rule first was firing, or first wasn't, at or after `since`; None: not yet."""
        state, changes = QUIET, [one for one in self.changes if one.rule == rule]
        for change in changes:
            if change.at > since:
                break
            state = change.state
        if (state == FIRING) == firing:
            return since
        later = (one.at for one in changes if one.at > since and (one.state == FIRING) == firing)
        return next(later, None)

    def note(self, alerts: Iterable[dict[str, Any]], at: float) -> None:
        """One look."""
        found: dict[Rule, str] = {}
        for alert in alerts:
            rule = Rule(alert["labels"]["alertname"], alert["labels"]["severity"])
            if found.get(rule) != FIRING:
                found[rule] = alert["state"]
        with self._lock:
            for rule in sorted(self._states.keys() | found.keys()):
                state = found.get(rule, QUIET)
                if self._states.get(rule, QUIET) != state:
                    self._changes.append(Change(at, rule, state))
            self._states = found

    def _look_on(self) -> None:
        while not self._stop.wait(LOOK_S):
            try:
                alerts = self._alerts()
            except (OSError, ValueError, KeyError, HTTPException):
                continue
            self.note(alerts, time.monotonic())
            with self._lock:
                self._looked.append(time.monotonic())
