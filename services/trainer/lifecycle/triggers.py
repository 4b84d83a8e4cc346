"""When to train anew. Pure.

All times are the stream's own, in microseconds: labels mature in it, and a replay of a year decides as the year did.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import msgspec

from services.trainer.spans import Span
from shared.feature_definitions.windows import MICROS_PER_DAY

JUDGED_DAYS = 7
"""Of what came in, a look judges so many whole ones when it calls it poisoned."""

MOST_CUT_OFF = 3
"""So many trainings in a row that never came to an end count as one in vain."""


class Trigger(StrEnum):
    FIRST = "first"
    """There is no model, or none that this loop has trained."""
    DRIFT = "drift"
    """Purchases no longer look like those that the champion learnt from."""
    PERFORMANCE = "performance"
    """What has matured went worse than the champion's card promised."""
    SCHEDULE = "schedule"


class Came(StrEnum):
    """What a training came to."""

    CANDIDATE = "candidate"
    TOO_EARLY = "too early"
    """Too little has matured. It cost next to nothing, and is tried again in a week as planned."""
    IN_VAIN = "in vain"
    """Refused for another reason, or no better than the champion."""
    BUSY = "busy"
    """Somebody else was training: there was none."""


@dataclass(frozen=True)
class Plan:
    """How often, in days of the stream."""

    every_days: float = 28.0
    """While nothing is the matter."""
    changed_days: float = 7.0
    """While the world is another one than the champion's, or too little has matured: each week brings more of what
    there is to learn."""
    back_off_days: float = 1.0
    """After a training that came to nothing; twice as long after each further one, `every_days` at most."""


@dataclass(frozen=True)
class Seen:
    """What the latest look found."""

    clock_us: int
    """The time of the stream's latest purchase."""
    drifted_from_us: int | None = None
    """Since when purchases look otherwise, as far as the look can tell; None: they look as ever."""
    lost_from_us: int | None = None
    """Since when the champion does worse than it promised; None: it keeps its promise."""
    poisoned: tuple[str, ...] = ()
    """Why what came in lately is never to be learnt from."""
    held: tuple[str, ...] = ()
    """Why nothing is to be learnt now. What came in is sound: once this is over, it is learnt from."""
    blind: str | None = None
    """Why nothing can be said of drift, performance and data: then what was known before still holds, and nobody is let
    further on the ladder."""

    @property
    def sound(self) -> bool:
        """Nothing speaks against learning, or against taking this for evidence."""
        return not self.poisoned and not self.held


class State(msgspec.Struct, frozen=True):
    """What is remembered from one look to the next."""

    tried_at_us: int | None = None
    """The stream's time of the last training, whatever it came to."""
    in_vain: int = 0
    """Trainings in a row that were refused or came to no candidate, but for those that came too early."""
    drifted_at_us: int | None = None
    """Since when purchases look otherwise than those that the champion learnt from: as it was first noticed, since each
    later look would put it later. None: they look alike."""
    lost_at_us: int | None = None
    """Since when the champion does worse than it promised: by the latest look, which knows most."""
    learnt_of_us: int | None = None
    """When the younger of the two was noticed. A training at or after this knew of it."""
    unjudged: bool = False
    """The last training came too early, or never to an end: the next one needn't wait for the schedule."""
    hurried: bool = False
    """The last candidate was trained because the world had changed, from what little had matured since. Its successor
    needn't wait for the schedule: there is more to learn each week."""
    cut_off: int = 0
    """Trainings in a row that were begun and have not come to an end."""
    poisoned: tuple[Span, ...] = ()
    """Of which purchases nobody learns, and none are evidence: their labels mature long after the input is good again.
    In their order, none touches another."""

    @property
    def changed_at_us(self) -> int | None:
        """Since when the world is the one that there is to learn now; None: it has not changed."""
        return max((at for at in (self.drifted_at_us, self.lost_at_us) if at is not None), default=None)


@dataclass(frozen=True)
class Climber:
    """Who is on the ladder; of two, the one in shadow."""

    version: str
    stage: str
    replaceable: bool = False
    """A newer candidate may take its place. Not that of one that waits for the end of a probation: it can't show what
    it is asked for before, and would be gone just as it may."""
    serves: bool = False
    """It is in service, on probation: a newer candidate may answer in shadow beside it."""


@dataclass(frozen=True)
class Decision:
    trigger: Trigger | None
    """None: nothing to do now."""
    why: str


def noted(state: State, seen: Seen) -> State:
    """The state after a look: a change that is first seen is noted, and one that is over is forgotten.

    What was tried in vain before a loss was noticed says nothing of what there is to learn since: its pause shrinks to
    the first one. Not to none, so that a loss that comes and goes starts no training each time.
    """
    if seen.blind is not None:
        return state
    drifted = seen.drifted_from_us is not None and state.drifted_at_us is None
    lost = seen.lost_from_us is not None and state.lost_at_us is None
    over = seen.drifted_from_us is None and seen.lost_from_us is None
    return msgspec.structs.replace(
        state,
        drifted_at_us=seen.drifted_from_us if drifted or seen.drifted_from_us is None else state.drifted_at_us,
        lost_at_us=seen.lost_from_us,
        in_vain=min(state.in_vain, 1) if lost else state.in_vain,
        learnt_of_us=None if over else seen.clock_us if drifted or lost else state.learnt_of_us,
        poisoned=_with(state.poisoned, seen.clock_us) if seen.poisoned else state.poisoned,
    )


def _with(spans: Sequence[Span], clock_us: int) -> tuple[Span, ...]:
    """Those, and the days up to `clock_us` that were judged: whole ones, and what came in since. It is later than all
    of them."""
    since_us, until_us = (clock_us // MICROS_PER_DAY - JUDGED_DAYS) * MICROS_PER_DAY, clock_us + 1
    if spans and spans[-1][1] >= since_us:
        return (*spans[:-1], (min(spans[-1][0], since_us), until_us))
    return (*spans, (since_us, until_us))


def decide(state: State, seen: Seen, plan: Plan, climber: Climber | None = None) -> Decision:
    """Whether to train now, from the state as `noted`.

    A training that was tried is not tried again before its back-off has passed, whatever the trigger; a change that is
    new is trained for at once, and then every `changed_days` until a champion that has learnt it takes over. Whoever is
    on the ladder is let climb: a newcomer each week would take the place of the one before just as it has shown enough.
    Only where it shows nothing for a whole `every_days` does a newer one take its place, as long as it may. One on
    probation holds nobody up: what was learnt in a hurry after a change is to be followed by what knows more of it, and
    that is tried each `changed_days` until it has passed.
    """
    if not seen.sound:
        return Decision(None, f"not learning from this: {'; '.join((*seen.poisoned, *seen.held))}")
    if state.tried_at_us is None and climber is not None:
        return Decision(None, f"{climber.version} is on the ladder ({climber.stage}), put there by a person")
    if state.tried_at_us is None:
        return Decision(Trigger.FIRST, "nothing has been trained yet")
    waited = (seen.clock_us - state.tried_at_us) / MICROS_PER_DAY
    pause = back_off(state, plan)
    if waited < pause:
        return Decision(None, f"{state.in_vain} trainings in vain: the next one in {pause - waited:.1f} days")
    what = (
        Trigger.PERFORMANCE if seen.lost_from_us is not None
        else Trigger.DRIFT if seen.drifted_from_us is not None
        else Trigger.SCHEDULE
    )  # fmt: skip
    if what is Trigger.SCHEDULE:
        period = plan.changed_days if state.unjudged or state.hurried else plan.every_days
    elif state.learnt_of_us is None or state.learnt_of_us > state.tried_at_us:
        period = 0.0
    else:
        period = plan.changed_days
    if climber is not None and not climber.serves:
        if not climber.replaceable:
            return Decision(None, f"{climber.version} is on the ladder ({climber.stage}): one at a time ({what})")
        period = max(period, plan.every_days)
    if waited < period:
        return Decision(None, f"the next training in {period - waited:.1f} days ({what})")
    return Decision(what, f"{waited:.1f} days after the last one")


def back_off(state: State, plan: Plan) -> float:
    """Days between a training in vain and the next one: doubled with each, up to the schedule's own."""
    if state.in_vain == 0:
        return 0.0
    return min(plan.back_off_days * 2.0 ** min(state.in_vain - 1, 16), plan.every_days)


def begun(state: State, clock_us: int) -> State:
    """The state while a training is under way, and after one that was cut off. It is begun anew at once; one that is
    cut off again and again counts as in vain, so that its pause grows too."""
    if state.cut_off + 1 < MOST_CUT_OFF:
        return msgspec.structs.replace(state, cut_off=state.cut_off + 1)
    return msgspec.structs.replace(trained(state, clock_us, Came.IN_VAIN), unjudged=True)


def trained(state: State, clock_us: int, came: Came) -> State:
    """The state after a training. `state`: before it was begun."""
    if came is Came.BUSY:
        return state
    in_vain = {Came.CANDIDATE: 0, Came.TOO_EARLY: state.in_vain, Came.IN_VAIN: state.in_vain + 1}[came]
    return msgspec.structs.replace(
        state,
        tried_at_us=clock_us,
        in_vain=in_vain,
        unjudged=came is Came.TOO_EARLY,
        hurried=state.changed_at_us is not None if came is Came.CANDIDATE else state.hurried,
        cut_off=0,
    )
