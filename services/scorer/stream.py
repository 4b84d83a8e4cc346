"""The stream door: vectors from bnpl-features in batches, decisions onto risk-decisions."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Sequence

import msgspec
import structlog
from aiokafka import ConsumerRecord

from services.scorer.claims import Claim, IndexIncomplete, greatest_offsets
from services.scorer.decider import Decider
from services.scorer.limiter import Limiter
from services.scorer.metrics import CLAIMS, HALTED, SERVICE
from services.scorer.outgoing import decision_record
from services.scorer.ports import Claims, Exposures, Sender
from services.scorer.reserving import JUDGED_FOR_S, Reserving
from services.scorer.sorting import Chunk, sort_out, vectors_of
from services.scorer.vectors import Vector
from shared.contracts import topics
from shared.contracts.events import Decision, FeatureVector, encode
from shared.contracts.identity import epoch_micros
from shared.kafka.consumer import Batch
from shared.kafka.errors import TransientError
from shared.kafka.refusal_limit import RefusalLimit, TooManyRefused
from shared.telemetry.metrics import (
    DEAD_LETTERS,
    DECISION_SECONDS,
    DECISIONS,
    EVENT_TO_DECISION_SECONDS,
    EVENTS,
    FEATURE_AGE_SECONDS,
)
from shared.telemetry.tracing import OFF, Tracing

log = structlog.get_logger()

TOPIC = topics.FEATURES.name

WHERE_QUIET = 4
"""A chunk four times as long is decided in four fifths of the time, and a checkout would wait for all of it."""

TRIED_AGAIN_WITHIN_S = 10.0
"""Longer than who was refused a batch waits until it gives it again."""


class Halted(TransientError):
    """Most of what the topic brings would be refused: it is left alone for a while."""


class StreamDoor:
    """Decides every vector at least once; an event whose decision exists gets no other.

    `handle` returns once each event of the batch has its decision acknowledged on the topic and marked in the index,
    and each refused record its letter: one that can't be read, or of another purchase than its event was decided for.
    It raises TransientError where Redis or Kafka is away, or too much would be refused: the same batch is then given
    again, goes on where it was, and finds its own claims.
    """

    def __init__(
        self,
        decider: Decider,
        claims: Claims,
        sender: Sender,
        exposures: Exposures,
        *,
        confirm: Callable[[], Awaitable[None]],
        chunk_records: int,
        refusals: RefusalLimit,
        halt_seconds: float,
        limiter: Limiter | None = None,
        tracing: Tracing = OFF,
        judged_for_s: int = JUDGED_FOR_S,
        quiet: Callable[[], bool] = lambda: False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`confirm`: called before anything is decided; raises where this process must not decide (yet).

        `chunk_records`: decided without a pause; `WHERE_QUIET` times as many where `quiet` says that nobody waits.

        `judged_for_s` as in `Reserving`. `halt_seconds`: for which the topic is left alone where `refusals` says so.
        """
        self._reserving = Reserving(decider, exposures, limiter, judged_for_s=judged_for_s)
        self._claims = claims
        self._sender = sender
        self._confirm = confirm
        self._chunk_records = chunk_records
        self._refusals = refusals
        self._halt_seconds = halt_seconds
        self._tracing = tracing
        self._quiet = quiet
        self._clock = clock
        self._halted_until: float | None = None
        self._batch: Batch | None = None
        """The one in hand, and how many of its records are done: what was refused isn't refused anew at each try."""
        self._done = 0
        self._conflicts = 0
        """Refused in the chunk before, and not yet held against the limit."""
        # Asked anew each time: a batch that was refused may go to another process, and none come here for hours.
        HALTED.labels(TOPIC).set_function(self._is_halted)

    async def handle(self, batch: Batch) -> None:
        self._look_whether_halted()
        await self._confirm()
        if batch is not self._batch:
            self._batch, self._done = batch, 0
        records = [record for of_partition in batch.values() for record in of_partition]
        while self._done < len(records):
            at_once = self._chunk_records * (WHERE_QUIET if self._quiet() else 1)
            chunk = records[self._done : self._done + at_once]
            await self._decide(chunk)
            self._done += len(chunk)
            # The awaits in between may all have been answered at once: let a checkout have its turn for certain.
            await asyncio.sleep(0)
        self._batch = None

    def _look_whether_halted(self) -> None:
        if self._halted_until is not None:
            if self._clock() < self._halted_until:
                raise Halted("bnpl-features is left alone for a while")
            log.info("topic_tried_again", topic=TOPIC)
            self._halted_until = None

    def _is_halted(self) -> bool:
        until = self._halted_until
        return until is not None and self._clock() < until + TRIED_AGAIN_WITHIN_S

    async def _decide(self, records: Sequence[ConsumerRecord]) -> None:
        while records:
            started = time.perf_counter()
            with self._tracing.processing(records) as processing:
                records = await self._decide_sorted(sort_out(records, processing), started)

    async def _decide_sorted(self, chunk: Chunk, started: float) -> list[ConsumerRecord]:
        """Gives those that are to be looked at once more."""
        self._stop_where_too_many(chunk)
        vectors = vectors_of(chunk)
        accounts = {
            vector.event_id: self._reserving.place(chunk.partition_of(vector.event_id), vector.transaction)
            for vector in vectors
        }
        decisions = await self._reserving.decide([(accounts[vector.event_id], vector) for vector in vectors], "stream")
        wanted = [
            Claim(decision.event_id, vector.fingerprint, encode(decision))
            for decision, vector in zip(decisions, chunk.vectors.values(), strict=True)
        ]
        try:
            held = await self._claims.claim(wanted) if wanted else []
        except IndexIncomplete:
            await self._reserving.take_back(list(accounts.values()))
            raise
        unreadable = len(chunk.letters)
        by_event = {claim.event_id: claim for claim in held}
        refused, later = chunk.refuse_conflicts(by_event)
        self._conflicts = len(chunk.letters) - unreadable
        results = [_result(mine, theirs, refused) for mine, theirs in zip(wanted, held, strict=True)]
        for decision, result in zip(decisions, results, strict=True):
            if result == "won":
                self._reserving.note(accounts[decision.event_id], decision)
        # An entry is named by its event: of one customer's two bodies it may be the other's, which is being settled.
        others = [
            event_id for event_id in refused if not _of_same_customer(by_event[event_id], chunk.vectors[event_id])
        ]
        if others:
            await self._reserving.take_back([accounts[event_id] for event_id in others])
        # What is published was settled before, and somebody may have called it off since. What was claimed for another
        # purchase is published by whoever has that one: its vector, or its checkout.
        unpublished = [claim for claim in held if not claim.published and claim.event_id not in refused]
        await self._reserving.settle([(accounts[claim.event_id], claim) for claim in unpublished])
        outgoing = [
            decision_record(
                claim,
                chunk.traces[claim.event_id],
                chunk.partition_of(claim.event_id),
                exposure=accounts[claim.event_id][2].text(),
            )
            for claim in unpublished
        ]
        if outgoing or chunk.letters:
            acknowledged = await self._sender.send_all([*outgoing, *chunk.letters])
            if unpublished:
                await self._claims.mark_published(unpublished, greatest_offsets(acknowledged[: len(outgoing)]))
        _count(chunk, decisions, vectors, results, time.perf_counter() - started)
        return later

    def _stop_where_too_many(self, chunk: Chunk) -> None:
        """Before anything of the chunk is reserved or claimed. Raises Halted.

        Which of its vectors contradict a claim isn't known yet: those of the chunk before count.
        """
        refused, self._conflicts = len(chunk.letters) + self._conflicts, 0
        try:
            self._refusals.check({TOPIC: (chunk.size, refused)})
        except TooManyRefused as many:
            log.error(
                "topic_halted", topic=many.topic, refused=many.refused, records=many.records,
                seconds=self._halt_seconds, detail="SCORER__REFUSALS_PER_MINUTE=0 would take it in",
            )  # fmt: skip
            self._halted_until = self._clock() + self._halt_seconds
            raise Halted(str(many)) from None


def _result(mine: Claim, theirs: Claim, refused: Collection[str]) -> str:
    if theirs is mine:
        return "won"
    if theirs.event_id in refused:
        return "conflict"
    return "lost" if theirs.published else "repaired"


def _of_same_customer(claim: Claim, vector: Vector) -> bool:
    """As far as can be told: where it can't, a reservation ends by itself."""
    try:
        return claim.about().customer_id == vector.vector.customer_id
    except msgspec.DecodeError:
        return True


def _count(
    chunk: Chunk, decisions: Sequence[Decision], vectors: Sequence[FeatureVector], results: Sequence[str], took: float
) -> None:
    """All of the chunk at once where that is possible: looking a counter up costs more than the counting."""
    for result, times in Counter(results).items():
        CLAIMS.labels("stream", result).inc(times)
        if result != "conflict":  # counted as refused
            EVENTS.labels(SERVICE, TOPIC, "decided" if result == "won" else "known").inc(times)
    won = [i for i, result in enumerate(results) if result == "won"]
    made = Counter((decisions[i].decision.value, decisions[i].variant, decisions[i].degraded or "") for i in won)
    for labels, times in made.items():
        DECISIONS.labels(*labels, "stream").inc(times)
    now, seconds = time.time(), DECISION_SECONDS.labels("stream")
    for i in won:
        seconds.observe(took)
        EVENT_TO_DECISION_SECONDS.observe(max(0.0, now - chunk.recorded_us[i] / 1e6))
        FEATURE_AGE_SECONDS.observe(max(0.0, now - epoch_micros(vectors[i].computed_at) / 1e6))
    if chunk.repeats:
        EVENTS.labels(SERVICE, TOPIC, "duplicate").inc(chunk.repeats)
    for reason in chunk.reasons:
        EVENTS.labels(SERVICE, TOPIC, "refused").inc()
        DEAD_LETTERS.labels(SERVICE, reason).inc()
