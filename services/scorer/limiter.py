"""How much harm a wrong model or policy can do before people look: declines and approvals of the last minutes."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from decimal import Decimal
from itertools import takewhile

import structlog

from services.scorer.metrics import LIMITER_HOLDS
from services.scorer.policies import PolicySlot
from shared.contracts.events import Decision, Verdict
from shared.policy import Circumstances, Policy, circumstances_of
from shared.policy.exploration import was_explored
from shared.telemetry.process import sleep_unless

log = structlog.get_logger()

SECONDS = 60
LONGEST_MINUTES = 1440
JUDGED_EVERY_S = 10.0


@dataclass(slots=True)
class _Minute:
    number: int
    decided: int = 0
    """But what rules declined."""
    declined: int = 0
    """And those that would have been, had they not been held."""
    approved_cents: int = 0
    explored_loss_cents: Decimal = Decimal(0)
    """Expected loss of what was approved by chance."""


class Limiter:
    """Counts of one process. What is held is looked up before each chunk of the stream and each round of checkouts,
    and either may go over a limit by its own size."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._minutes: deque[_Minute] = deque()
        self._held = Circumstances()
        for what in ("declines", "approvals"):
            LIMITER_HOLDS.labels(what).set(0)

    async def run(self, policies: PolicySlot, stop: asyncio.Event) -> None:
        """Until `stop` is set: what is held is let go in time where no purchase comes any more, too."""
        while not stop.is_set():
            self.circumstances(policies.current)
            await sleep_unless(stop, JUDGED_EVERY_S)

    def note(self, decision: Decision, cents: int, *, by_rule: bool = False) -> None:
        """A decision was made. `cents`: of the size of US dollars. `by_rule`: what declines is a rule, and says nothing
        of a score gone wrong: somebody on a list may ask as often as everybody else together, and would bring about
        that declines are held, or that they aren't."""
        if by_rule and decision.decision is Verdict.DECLINE:
            return
        minute = self._now()
        if not self._minutes or self._minutes[-1].number != minute:
            self._minutes.append(_Minute(minute))
            while self._minutes[0].number <= minute - LONGEST_MINUTES:
                self._minutes.popleft()
        counts = self._minutes[-1]
        counts.decided += 1
        declined = decision.decision is Verdict.DECLINE
        counts.declined += declined or circumstances_of(decision.reasons).declines_held
        counts.approved_cents += cents if decision.decision is Verdict.APPROVE else 0
        if was_explored(decision.reasons):
            counts.explored_loss_cents += cents * Decimal(repr(decision.probability_of_default or 0.0))

    def circumstances(self, policy: Policy) -> Circumstances:
        """What is held at the moment."""
        exploring = self._has_budget(policy)
        limiter = policy.limiter
        if limiter is None:
            return self._hold(Circumstances(exploring=exploring))
        within = self._last(limiter.window_minutes)
        decided = sum(minute.decided for minute in within)
        declined = sum(minute.declined for minute in within)
        most = limiter.most_approved_usd
        return self._hold(
            Circumstances(
                declines_held=decided >= limiter.at_least and declined > limiter.most_declined * decided,
                exploring=exploring,
                approvals_held=most is not None and sum(minute.approved_cents for minute in within) > 100 * most,
            )
        )

    def _last(self, minutes: int) -> list[_Minute]:
        """The latest first: who asks for few doesn't go through a day's."""
        first = self._now() - minutes + 1
        return list(takewhile(lambda minute: minute.number >= first, reversed(self._minutes)))

    def _has_budget(self, policy: Policy) -> bool:
        exploration = policy.exploration
        if exploration is None:
            return False
        spent = sum(minute.explored_loss_cents for minute in self._last(LONGEST_MINUTES))
        return spent * policy.loss_given_default < 100 * exploration.most_expected_loss_usd

    def _hold(self, held: Circumstances) -> Circumstances:
        before = replace(self._held, exploring=held.exploring)
        if held != before:
            self._held = held
            LIMITER_HOLDS.labels("declines").set(held.declines_held)
            LIMITER_HOLDS.labels("approvals").set(held.approvals_held)
            what = [
                name
                for name, is_held in (("declines", held.declines_held), ("approvals", held.approvals_held))
                if is_held
            ]
            if what:
                log.error("limiter_holds", kind=what)
            else:
                log.info("limiter_holds_nothing")
        return held

    def _now(self) -> int:
        return int(self._clock() // SECONDS)
