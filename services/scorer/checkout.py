"""The REST door's use case: decide one purchase now, with the same state, features, model and policy as the stream."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable
from dataclasses import dataclass
from typing import Any

import msgspec
import structlog

from services.scorer.claims import ANY_BODY, Claim, IndexIncomplete
from services.scorer.cohorts import Cohorts
from services.scorer.decider import Clock, Decider, utc_now
from services.scorer.following import BEHIND_S, Following
from services.scorer.idempotency import quietly
from services.scorer.limiter import Limiter
from services.scorer.metrics import CLAIMS, SERVICE
from services.scorer.outgoing import decision_record, transaction_record
from services.scorer.ports import Ports
from services.scorer.reserving import JUDGED_FOR_S, Reserving
from services.scorer.rounds import Found, Rounds
from shared.contracts.events import AsOf, Decision, VectorState, encode
from shared.contracts.identity import EPOCH, canonical_time, partition_of
from shared.contracts.pseudonyms import OFF, Pseudonyms
from shared.contracts.rejections import Rejection, RejectionReason
from shared.contracts.topics import TRANSACTIONS
from shared.contracts.transactions import AcceptedTransaction, Door, Limits, decode_transaction
from shared.deciding import Degraded
from shared.exposure.store import PENDING_MS, Placed
from shared.feature_definitions import CustomerState, Sighting, make_vector
from shared.feature_definitions.stored import LayoutMismatch
from shared.feature_state import PartitionCountMismatch
from shared.kafka.errors import TransientError
from shared.kafka.producer import OutgoingRecord
from shared.telemetry.metrics import DECISION_SECONDS, DECISIONS, INPUT_WARNINGS

log = structlog.get_logger()

NOTHING_READ = AsOf(transactions=-1, outcomes=-1)

PUBLISHING_POLLS, PUBLISHING_PAUSE_S = 5, 0.01
"""How long another caller's claim may take to be marked before it is produced again: 50 ms, several times the usual."""

SENDING_S = 2.0
"""From the look at how old a reservation is to its settling, beside what Kafka takes: two round trips to Redis."""

STREAM_POLLS, STREAM_PAUSE_S = 25, 0.02
"""How long a purchase that the stream already counted may take to be decided there: half a second."""


class Rebuilding(Exception):
    """What Redis holds of the customer is not what it should be: it was lost, and is being made anew."""


class Unavailable(Exception):
    """Nothing can be answered right now, and asking again with the same body is safe."""

    def __init__(self, reason: str, detail: str, *, retry_after_s: int = 1) -> None:
        super().__init__(detail)
        self.reason = reason
        self.retry_after_s = retry_after_s


@dataclass(frozen=True, slots=True)
class Question:
    """A request, as the door received it."""

    body: bytes
    caller: str = "local"
    idempotency_key: str | None = None
    schema_version: str | None = None
    traceparent: str | None = None
    noted: bool = False
    """Whether it is noted that this caller has asked: he may look up, or call off, only what he has asked for
    himself."""


@dataclass(frozen=True, slots=True)
class _Addressed:
    """A purchase on its way to the topic, under the customer's own id whatever he is called elsewhere."""

    purchase: OutgoingRecord
    partition: int
    """The customer's, in every topic."""
    placed: Placed
    """On the customer's account."""


class Checkout:
    """Guarantee: an answer that isn't degraded for want of state is on risk-decisions, byte for byte, and its purchase
    is on bnpl-transactions.

    Order: reserve, claim, produce the purchase, produce the decision and settle, mark, answer. The purchase before its
    decision, so that no crash leaves a decision without its purchase; a purchase without a decision is completed by the
    stream, from the claim. So from the purchase's acknowledgement on it counts, whatever becomes of this request, and
    not before. Where Kafka is away, the claim stays: the caller is told to ask again, and then gets that decision,
    produced at last. If he never does, and the purchase isn't there, nobody was promised anything, and claim and
    reservation expire.
    """

    def __init__(
        self,
        ports: Ports,
        decider: Decider,
        *,
        limits: Limits,
        partitions: int,
        publish_timeout_s: float,
        clock: Clock = utc_now,
        pseudonyms: Pseudonyms = OFF,
        limiter: Limiter | None = None,
        judged_for_s: int = JUDGED_FOR_S,
        behind_s: float = BEHIND_S,
    ) -> None:
        """`judged_for_s` as in `Reserving`. `behind_s`: what states may lack before the fallback decides."""
        self._ports = ports
        self._decider = decider
        self._reserving = Reserving(decider, ports.exposures, limiter, judged_for_s=judged_for_s)
        self._following = Following(behind_s)
        self._cohorts = Cohorts()
        self._rounds = Rounds(ports, self._reserving)
        self._limits = limits
        self._partitions = partitions
        self._publish_timeout_s = publish_timeout_s
        self._reserved_for_s = PENDING_MS / 1000 - publish_timeout_s - SENDING_S
        """After a request's beginning: what it reserved then is there until it is settled, however long Kafka takes."""
        self._clock = clock
        self._pseudonyms = pseudonyms

    async def decide(self, question: Question) -> bytes:
        """The purchase's Decision.

        Raises `Rejection` for a body that is refused or contradicts an earlier one, InFlight for a key whose first
        request isn't answered, Unavailable where Kafka is away.
        """
        started = time.perf_counter()
        async with self._cohorts.member():
            return await self._decide(question, started)

    async def _decide(self, question: Question, started: float) -> bytes:
        now = self._clock()
        received_us = int((now - EPOCH).total_seconds() * 1e6)
        received = decode_transaction(
            question.body,
            door=Door.REST,
            received_us=received_us,
            limits=self._limits,
            schema_version=question.schema_version,
        )
        accepted = self._pseudonyms.transaction(received)
        partition = partition_of(received.transaction.customer_id.encode(), self._partitions)
        addressed = _Addressed(
            transaction_record(
                received, partition, received_us=received_us, limits=self._limits, traceparent=question.traceparent
            ),
            partition,
            self._reserving.place(partition, accepted.transaction),
        )
        for rule in accepted.warnings:
            INPUT_WARNINGS.labels(SERVICE, rule.value).inc()
        key = question.idempotency_key
        bound = False
        marking: Awaitable[bool] | None = None
        try:
            try:
                await self._ports.confirm()
                # Both leave at once; what a key says is heard first.
                looking = self._rounds.look_up.ask(
                    (accepted.transaction.event_id, partition, accepted.transaction.customer_id)
                )
                if key is not None:
                    bound = await self._rounds.bind.ask((question.caller, key, accepted.fingerprint)) is True
                claim, mine = await self._claimed(accepted, addressed, canonical_time(now), await looking)
            except (Rebuilding, IndexIncomplete) as error:
                log.warning("rebuilding", error=str(error)[:200])
                return await self._fall_back(accepted, canonical_time(now), addressed, Degraded.REBUILDING)
            except (TransientError, PartitionCountMismatch, LayoutMismatch) as error:
                log.warning("state_unavailable", error=str(error)[:200])
                return await self._fall_back(accepted, canonical_time(now), addressed, Degraded.STATE_UNAVAILABLE)
            noting: Awaitable[None] | None = None
            if question.noted:  # known from here on to have the very body that was decided on
                noting = self._rounds.note.ask((question.caller, claim.event_id))
            if not claim.published and (mine or not await self._marked_by_another(claim)):
                # A process that stood still meanwhile may have lost its reservation, and others taken its place.
                reserved = mine and time.perf_counter() - started < self._reserved_for_s
                marking = await self._publish(claim, addressed, question.traceparent, reserved)
            if noting is not None:
                await _noted(noting, claim)
            return claim.decision
        finally:
            # Both leave at once.
            releasing: Awaitable[None] | None = None
            if bound and key is not None:
                releasing = self._rounds.release.ask((question.caller, key, accepted.fingerprint))
            try:
                if marking is not None:
                    await marking
                if releasing is not None:
                    await quietly(releasing)
            finally:
                DECISION_SECONDS.labels("rest").observe(time.perf_counter() - started)

    async def find(self, event_id: str, asked_by: str | None = None, *, on_its_way: bool = False) -> bytes | None:
        """The decision of an event, if the topic has it. Raises Unavailable where Redis is away.

        `asked_by`: only if this caller has asked for it before; None: in any case. `on_its_way`: raise Unavailable
        (pending), too, where there is one that the topic doesn't have yet.
        """
        try:
            if asked_by is not None and not await self._ports.askers.has_asked(asked_by, event_id):
                return None
            claim = await self._ports.claims.lookup(event_id)
        except TransientError as error:
            raise Unavailable("state-unavailable", "decisions can't be looked up right now") from error
        if on_its_way and claim is not None and not claim.published:
            raise Unavailable("pending", "it is decided, and the decision is being recorded")
        return claim.decision if claim is not None and claim.published else None

    async def _claimed(
        self, accepted: AcceptedTransaction, addressed: _Addressed, now: str, found: Found
    ) -> tuple[Claim, bool]:
        """The event's claim, and whether it was made here and now."""
        transaction, partition, claim, position = accepted.transaction, addressed.partition, found.claim, found.position
        if claim is not None and claim.fingerprint != ANY_BODY:
            return _same_body(claim, accepted), False
        state = CustomerState.decode(found.state)
        sighting = state.sighting(transaction.event_id, accepted.fingerprint)
        if sighting is Sighting.CONFLICT:
            raise _conflict()
        if claim is not None:
            return _same_body(claim, accepted), False
        if position is None:
            raise Rebuilding(f"partition {partition}")
        if sighting is Sighting.DUPLICATE:
            return _same_body(await self._decided_by_stream(transaction.event_id), accepted), False
        missing = self._following.behind(partition, position.transactions)
        if missing is not None:
            log.warning("states_behind", topic=TRANSACTIONS.name, partition=partition, offset=missing)
        as_of = AsOf(transactions=position.transactions, outcomes=position.outcomes)
        vector = make_vector(state, accepted, as_of, now)
        # What is owed is kept apart from states, and counts for both alike.
        deciding = self._rounds.decide if missing is None else self._rounds.fall_back
        decision = await deciding.ask((addressed.placed, vector))
        wanted = Claim(transaction.event_id, accepted.fingerprint, encode(decision))
        try:
            held = await self._rounds.claim.ask(wanted)
        except IndexIncomplete:
            await self._reserving.take_back([addressed.placed])
            raise
        if held is wanted:
            CLAIMS.labels("rest", "won").inc()
            _count(decision)
            self._reserving.note(addressed.placed, decision)
            return held, True
        return _same_body(held, accepted), False

    async def _decided_by_stream(self, event_id: str) -> Claim:
        """The claim of a purchase that is in the customer's state already: features made now would count it twice."""
        for _ in range(STREAM_POLLS):
            claim = await self._ports.claims.lookup(event_id)
            if claim is not None:
                return claim
            await asyncio.sleep(STREAM_PAUSE_S)
        raise Unavailable("pending", "the purchase came over the stream, which has not decided it yet")

    async def _publish(
        self, claim: Claim, addressed: _Addressed, traceparent: str | None, reserved: bool
    ) -> Awaitable[bool] | None:
        """Returns once the topic holds the claim's bytes, with the marking of it, under way. Raises Unavailable."""
        if not reserved and not await self._held(addressed.placed, claim):
            raise Unavailable("limit-reached", "it was approved before, and the limit has no room for it any more")
        record = decision_record(claim, traceparent, addressed.partition, exposure=addressed.placed[2].text())
        await self._send_purchase(addressed)
        settling = self._rounds.settle.ask((addressed.placed, claim))
        try:
            place = await self._send(record)
        except Unavailable:
            await asyncio.wait((settling,))
            raise
        if await _done(settling, claim):
            # Not while it isn't on the account: the stream finds the claim unmarked, settles it, and produces the same
            # bytes again.
            return _done(self._rounds.mark.ask((claim, place)), claim)
        return None

    async def _held(self, placed: Placed, claim: Claim) -> bool:
        try:
            return await self._reserving.hold(placed, claim)
        except TransientError as error:
            raise Unavailable("state-unavailable", "the customer's account can't be looked up right now") from error

    async def _marked_by_another(self, claim: Claim) -> bool:
        """Whether the claim's maker, who is probably at it right now, has published it within a moment."""
        for _ in range(PUBLISHING_POLLS):
            await asyncio.sleep(PUBLISHING_PAUSE_S)
            try:
                found = await self._ports.claims.lookup(claim.event_id)
            except TransientError:
                return False
            if found is not None and found.published and found.decision == claim.decision:
                return True
        return False

    async def _fall_back(self, accepted: AcceptedTransaction, now: str, addressed: _Addressed, degraded: str) -> bytes:
        """The policy's answer without the customer's past, within what its limiter allows: the limiter counts it here,
        and what the stream decides for good once more, rather than nothing of an outage.

        The purchase is published, and the stream decides it for good once Redis has all of it again: this answer is
        neither claimed nor published.
        """
        nobody = CustomerState()
        nobody.folded_until_us = accepted.occurred_us + 1  # so that every rolling feature is null, not zero
        vector = make_vector(nobody, accepted, NOTHING_READ, now, VectorState.REBUILDING)
        circumstances = self._reserving.without_past()
        [decision] = self._decider.decide([vector], "rest", degraded=degraded, circumstances=circumstances)
        await self._send_purchase(addressed)
        self._reserving.note(addressed.placed, decision)
        _count(decision)
        return encode(decision)

    async def _send_purchase(self, addressed: _Addressed) -> None:
        place = await self._send(addressed.purchase)
        self._following.published(addressed.partition, place.offset)

    async def _send(self, record: OutgoingRecord) -> Any:
        """Its place, once its topic has it."""
        try:
            (place,) = await self._ports.sender.send_all([record], deadline_s=self._publish_timeout_s)
        except TransientError as error:
            log.warning("not_published", topic=record.topic, error=str(error)[:200])
            raise Unavailable("kafka-unavailable", "the purchase can't be recorded right now") from error
        return place


async def _noted(noting: Awaitable[None], claim: Claim) -> None:
    """The decision is made: that its caller can't be noted now is no reason to give him another."""
    try:
        await noting
    except TransientError as error:
        log.warning("asker_not_noted", event_id=claim.event_id, error=str(error)[:200])


async def _done(step: Awaitable[None], claim: Claim) -> bool:
    """Whether a step on the claim after its decision was produced succeeded. The topic has it: the answer stands."""
    try:
        await step
    except TransientError as error:
        log.warning("mark_failed", event_id=claim.event_id, error=str(error)[:200])
        return False
    return True


def _same_body(claim: Claim, accepted: AcceptedTransaction) -> Claim:
    """The claim, if it was made for this purchase; raises `Rejection` (conflict) otherwise."""
    if not _is_of(claim, accepted):
        CLAIMS.labels("rest", "conflict").inc()
        raise _conflict()
    CLAIMS.labels("rest", "lost" if claim.published else "repaired").inc()
    return claim


def _is_of(claim: Claim, accepted: AcceptedTransaction) -> bool:
    if claim.fingerprint != ANY_BODY:
        return claim.fingerprint == accepted.fingerprint
    try:
        return claim.about().is_of(accepted.transaction)
    except msgspec.DecodeError:
        return False  # a record that is no decision, restored by an earlier release: nobody can be answered with it


def _conflict() -> Rejection:
    return Rejection(RejectionReason.CONFLICT, "event_id", "the body that this event was first sent with")


def _count(decision: Decision) -> None:
    DECISIONS.labels(decision.decision.value, decision.variant, decision.degraded or "", "rest").inc()
