"""What people have been told, and what that means for the next alert. Pure: times are seconds since 1970.

One rule decides: whoever reads the alerts should believe what is so. A thing that they know is wrong isn't told again;
that it is over is told if they had been told of it; what reached nobody has not been told.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import msgspec

from shared.alerts.message import Severity

WINDOW_S = 3600.0
MOST = 20
"""Alerts in that time, of all keys together: more are read by nobody, and a webhook that is flooded is switched off."""

MOST_CRITICAL = 30
"""The same for critical ones, so that a flood of lesser ones leaves them some room."""

REMIND_S = 3 * 86_400.0
"""What still comes after so long is told once more: by then nobody can say who looked after it. It also ends the
silence about things whose end nobody reports. Not a day, or a job that fails every night would tell every night."""

FORGET_S = 30 * 86_400.0
"""What was not heard of for so long is forgotten, so that the state stays small."""

LEASE_S = 30.0
"""For which a process that is telling keeps others from it. Longer than that takes (`ways.DEADLINE_S`): one that was
killed meanwhile has told nobody."""

PAUSE_S = 60.0
"""After nobody could be reached: a caller in a loop must not wait for a dead webhook each time."""


class Held(StrEnum):
    """Why an alert is held back."""

    KNOWN = "known already"
    BEING_TOLD = "being told by another process"
    TOO_MANY = "too many alerts"
    PAUSED = "nobody could be reached a moment ago"


class Open(msgspec.Struct):
    """Something wrong that people know of."""

    title: str
    severity: Severity
    since: float
    told_at: float
    heard_at: float
    repeats: int = 0
    """Since it was told."""


class Told(msgspec.Struct):
    open: dict[str, Open] = {}
    """By key."""
    tried_at: list[float] = []
    """When something was sent, in the last `WINDOW_S`."""
    held_back: int = 0
    """Alerts over the cap that no line has spoken of yet."""
    telling: dict[str, float] = {}
    """Key to when the process that is telling has lost its claim."""
    failed_at: float = 0.0


@dataclass(frozen=True)
class Go:
    """To be told now."""

    held_back: int
    """To be spoken of in it."""
    last_of_the_window: bool
    known: Open | None
    """It has been told before."""


def begin(told: Told, key: str, severity: Severity, now: float) -> Go | Held:
    """Whether to tell people of it; if so, nobody else does until `finish` or the end of the lease."""
    _prune(told, now)
    known = told.open.get(key)
    if known is not None:
        known.heard_at = now
        if severity.rank <= known.severity.rank and now - known.told_at < REMIND_S:
            known.repeats += 1
            return Held.KNOWN
    if key in told.telling:
        return Held.BEING_TOLD
    if now - told.failed_at < PAUSE_S:
        return Held.PAUSED
    most = MOST_CRITICAL if severity is Severity.CRITICAL else MOST
    if len(told.tried_at) >= most:
        told.held_back += 1
        return Held.TOO_MANY
    told.tried_at.append(now)
    told.telling[key] = now + LEASE_S
    return Go(told.held_back, len(told.tried_at) == most, known)


def finish(told: Told, key: str, title: str, severity: Severity, spoken_of: int, now: float) -> None:
    """It has reached somebody. `spoken_of`: alerts held back that it told of."""
    told.telling.pop(key, None)
    told.held_back = max(0, told.held_back - spoken_of)
    known = told.open.get(key)
    told.open[key] = Open(title, severity, now if known is None else known.since, now, now)


def begin_resolving(told: Told, key: str, now: float) -> Open | None:
    """What is over, if people have been told of it and nobody is telling of it at the moment."""
    _prune(told, now)
    known = told.open.get(key)
    if known is None or key in told.telling or now - told.failed_at < PAUSE_S:
        return None
    told.telling[key] = now + LEASE_S
    return known


def finish_resolving(told: Told, key: str) -> None:
    told.telling.pop(key, None)
    told.open.pop(key, None)


def failed(told: Told, key: str, now: float) -> None:
    """Nobody was reached with an alert: what nobody reads takes no room from what is read."""
    if told.tried_at:
        told.tried_at.pop()
    failed_resolving(told, key, now)


def failed_resolving(told: Told, key: str, now: float) -> None:
    """Nobody was reached with the end of one, which takes no room."""
    told.telling.pop(key, None)
    told.failed_at = now


def _prune(told: Told, now: float) -> None:
    # Times to come are those of a clock that was put back since: they must not silence anybody.
    told.tried_at = [at for at in told.tried_at if 0 <= now - at < WINDOW_S]
    told.telling = {key: until for key, until in told.telling.items() if now < until <= now + LEASE_S}
    told.open = {key: known for key, known in told.open.items() if 0 <= now - known.heard_at < FORGET_S}
    told.failed_at = min(told.failed_at, now)
