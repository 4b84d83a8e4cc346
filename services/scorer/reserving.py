"""Decisions that keep each customer within his exposure limit, however many are made for him at once, and all of them
within what the policy's limiter allows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import msgspec

from services.scorer.claims import Claim
from services.scorer.decider import Decider
from services.scorer.limiter import Limiter
from services.scorer.ports import Exposures
from shared.contracts.events import Decision, FeatureVector, Reason, Transaction, Verdict
from shared.contracts.identity import epoch_micros
from shared.contracts.topics import DAY_MS, FEATURES
from shared.deciding import Channel
from shared.exposure import Standing, reservation_of
from shared.exposure.store import Placed
from shared.policy import Circumstances, circumstances_of

JUDGED_FOR_S = FEATURES.retention_ms // 1000
"""As long as claims live by default, without which nobody can give a verdict."""


class Reserving:
    """A purchase that isn't declined is reserved on its customer's account before its decision is claimed; once the
    claim tells what the one decision is, the purchase counts, or is released (`settle`).

    Between the two a crash leaves a reservation that ends by itself. Nobody settles a claim before its purchase is on
    the topic, from where on the stream is bound to publish it; and everybody who publishes one settles it before he
    marks it. So what is settled stays, until somebody calls it off or judges it.
    """

    def __init__(
        self,
        decider: Decider,
        exposures: Exposures,
        limiter: Limiter | None = None,
        *,
        judged_for_s: int = JUDGED_FOR_S,
    ) -> None:
        """`limiter`: of the process, the same at both doors. `judged_for_s`: how long after its decision somebody may
        give a verdict on a purchase."""
        self._decider = decider
        self._exposures = exposures
        self._limiter = limiter or Limiter()
        self._judged_for_ms = judged_for_s * 1000

    async def decide(
        self, vectors: Sequence[tuple[Placed, FeatureVector]], channel: Channel, *, degraded: str | None = None
    ) -> list[Decision]:
        """One decision for each vector, given with its place on the customer's account. `degraded`: why the fallback
        has to decide. Raises TransientError."""
        circumstances = self._limiter.circumstances(self._decider.policy)
        asked = [vector for _, vector in vectors]
        decisions = self._decider.decide(asked, channel, degraded=degraded, circumstances=circumstances)
        wanted = [i for i, decision in enumerate(decisions) if decision.decision is not Verdict.DECLINE]
        if not wanted:
            return decisions
        placed = [vectors[i][0] for i in wanted]
        granted = await self._exposures.reserve(placed, self._limit_cents())
        beyond = [i for i, within in zip(wanted, granted, strict=True) if not within]
        if beyond:
            over = replace(circumstances, over_limit=True)
            asked = [vectors[i][1] for i in beyond]
            again = self._decider.decide(asked, channel, degraded=degraded, circumstances=over)
            for i, decision in zip(beyond, again, strict=True):
                decisions[i] = decision
        return decisions

    def place(self, partition: int, transaction: Transaction) -> Placed:
        """The purchase on its customer's account."""
        return partition, transaction.customer_id, reservation_of(transaction, self._decider.policy)

    async def settle(self, claims: Sequence[tuple[Placed, Claim]]) -> None:
        """What each purchase counts for, by the event's one decision, unless the account knows already. Raises
        TransientError."""
        await self._exposures.settle([(placed, self._standing(claim)) for placed, claim in claims])

    async def hold(self, placed: Placed, claim: Claim) -> bool:
        """Whether the account has room for what was claimed a while ago: its reservation may have ended since, and
        others may have taken its place. Raises TransientError."""
        if self._standing(claim) == Standing.RELEASED:
            return True
        return (await self._exposures.reserve([placed], self._limit_cents()))[0]

    async def take_back(self, placed: Sequence[Placed]) -> None:
        """What was reserved, and can't be claimed: the accounts may have been empty ones, and what is owed is about to
        be restored. Raises TransientError."""
        await self._exposures.take_back(placed)

    def without_past(self) -> Circumstances:
        """What the limiter holds, for a decision that knows nothing of the customer: none of these is approved by
        chance, since it says nothing of its kind."""
        return replace(self._limiter.circumstances(self._decider.policy), exploring=False)

    def note(self, placed: Placed, decision: Decision) -> None:
        """One that was made here, and is the event's."""
        declining = self._decider.policy.declining
        by_rule = any(reason.code in declining for reason in decision.reasons)
        self._limiter.note(decision, placed[2].cents, by_rule=by_rule)

    def _standing(self, claim: Claim) -> int:
        return standing_of(claim.decision, self._judged_for_ms)

    def _limit_cents(self) -> int | None:
        limit = self._decider.policy.exposure
        return None if limit is None else limit.limit_cents


class _Told(msgspec.Struct):
    """What of a decision says whether the purchase counts; its other fields may be those of another release."""

    decision: Verdict
    reasons: list[Reason]
    decided_at: str = ""


_TOLD = msgspec.json.Decoder(_Told)


def standing_of(decision: bytes, judged_for_ms: int) -> int:
    """What a purchase counts for by its decision alone: a `Standing`; or milliseconds since 1970 up to which it counts.

    An approved one counts. One in review that stays within the limit counts for as long as somebody may judge it
    (`judged_for_ms` after its decision, and a day, since the two are timed by different clocks): what nobody judges was
    never bought. A reviewer's verdict, or the checkout that calls it off, changes that. Raises msgspec.DecodeError, and
    ValueError for a review whose time can't be read.
    """
    told = _TOLD.decode(decision)
    if told.decision is Verdict.DECLINE or circumstances_of(told.reasons).over_limit:
        return Standing.RELEASED
    if told.decision is Verdict.REVIEW:
        return epoch_micros(told.decided_at) // 1000 + judged_for_ms + DAY_MS
    return Standing.COUNTS
