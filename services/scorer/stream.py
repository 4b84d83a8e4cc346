"""The stream door: vectors from bnpl-features in batches, decisions onto risk-decisions."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

import structlog
from aiokafka import ConsumerRecord

from services.scorer.claims import ANY_BODY, Claim, IndexIncomplete, greatest_offsets
from services.scorer.decider import Decider
from services.scorer.limiter import Limiter
from services.scorer.metrics import CLAIMS, SERVICE
from services.scorer.outgoing import decision_record
from services.scorer.ports import Claims, Exposures, Sender
from services.scorer.reserving import Reserving
from services.scorer.vectors import Vector, read_vector
from shared.contracts import topics
from shared.contracts.events import Decision, FeatureVector, encode
from shared.contracts.headers import RECORDED_TIME_HEADER, header, schema_version_of
from shared.contracts.identity import epoch_micros, from_record_timestamp
from shared.contracts.rejections import Rejection
from shared.kafka.consumer import Batch
from shared.kafka.dead_letters import letter_record
from shared.kafka.producer import OutgoingRecord
from shared.telemetry.metrics import (
    DEAD_LETTERS,
    DECISION_SECONDS,
    DECISIONS,
    EVENT_TO_DECISION_SECONDS,
    EVENTS,
    FEATURE_AGE_SECONDS,
)
from shared.telemetry.tracing import OFF, Processing, Tracing

log = structlog.get_logger()


@dataclass
class _Chunk:
    """Records of one chunk, sorted out: each event once, and the refused ones."""

    vectors: dict[str, Vector] = field(default_factory=dict)
    partitions: dict[str, int] = field(default_factory=dict)
    """Event id → where its vector lay."""
    recorded_us: list[int] = field(default_factory=list)
    """When each one's purchase was recorded."""
    traces: dict[str, str | None] = field(default_factory=dict)
    """Event id → the trace that it belongs to."""
    letters: list[OutgoingRecord] = field(default_factory=list)
    reasons: list[str] = field(default_factory=list)
    repeats: int = 0


class StreamDoor:
    """Decides every vector at least once; an event whose decision exists gets no other.

    `handle` returns once each event of the batch has its decision acknowledged on the topic and marked in the index,
    and each refused record its letter. It raises TransientError where Redis or Kafka is away: the same batch is then
    given again, and finds its own claims.
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
        keep_partition: bool = False,
        limiter: Limiter | None = None,
        tracing: Tracing = OFF,
    ) -> None:
        """`confirm`: called before anything is decided; raises where this process must not decide (yet).

        `keep_partition`: a decision goes into the partition of its vector, whatever its key gives: with pseudonyms.
        """
        self._reserving = Reserving(decider, exposures, limiter)
        self._claims = claims
        self._sender = sender
        self._confirm = confirm
        self._chunk_records = chunk_records
        self._keep_partition = keep_partition
        self._tracing = tracing

    async def handle(self, batch: Batch) -> None:
        await self._confirm()
        records = [record for of_partition in batch.values() for record in of_partition]
        for start in range(0, len(records), self._chunk_records):
            await self._decide(records[start : start + self._chunk_records])
            # The awaits in between may all have been answered at once: let a checkout have its turn for certain.
            await asyncio.sleep(0)

    async def _decide(self, records: Sequence[ConsumerRecord]) -> None:
        started = time.perf_counter()
        with self._tracing.processing(records) as processing:
            await self._decide_sorted(_sort_out(records, processing), started)

    async def _decide_sorted(self, chunk: _Chunk, started: float) -> None:
        vectors = [vector.vector for vector in chunk.vectors.values()]
        accounts = {
            vector.event_id: self._reserving.place(chunk.partitions[vector.event_id], vector.transaction)
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
        results = [_result(mine, theirs) for mine, theirs in zip(wanted, held, strict=True)]
        for decision, mine, theirs in zip(decisions, wanted, held, strict=True):
            if theirs is mine:
                self._reserving.note(accounts[decision.event_id], decision)
        # What is published was settled before, and somebody may have called it off since.
        unpublished = [claim for claim in held if not claim.published]
        await self._reserving.settle([(accounts[claim.event_id], claim) for claim in unpublished])
        outgoing = [
            decision_record(
                claim,
                chunk.traces[claim.event_id],
                chunk.partitions[claim.event_id] if self._keep_partition else None,
                exposure=accounts[claim.event_id][2].text(),
            )
            for claim in unpublished
        ]
        if outgoing or chunk.letters:
            acknowledged = await self._sender.send_all([*outgoing, *chunk.letters])
            if unpublished:
                await self._claims.mark_published(unpublished, greatest_offsets(acknowledged[: len(outgoing)]))
                others = [theirs for mine, theirs in zip(wanted, held, strict=True) if theirs is not mine]
                repaired = [(accounts[claim.event_id], claim) for claim in others if not claim.published]
                if repaired:
                    await self._reserving.confirm(repaired)
        _count(chunk, decisions, vectors, results, time.perf_counter() - started)


def _sort_out(records: Sequence[ConsumerRecord], processing: Processing) -> _Chunk:
    chunk = _Chunk()
    for record in records:
        try:
            vector = read_vector(record.value, record.key, schema_version_of(record.headers))
        except Rejection as rejection:
            received_at = from_record_timestamp(record.timestamp)
            chunk.letters.append(letter_record(rejection, record, service=SERVICE, received_at=received_at))
            chunk.reasons.append(rejection.reason.value)
            log.warning("vector_refused", partition=record.partition, offset=record.offset, reason=str(rejection)[:200])
            continue
        if vector.vector.event_id in chunk.vectors:
            chunk.repeats += 1  # sent again after a crash: the first one counts
            continue
        chunk.vectors[vector.vector.event_id] = vector
        chunk.partitions[vector.vector.event_id] = record.partition
        chunk.recorded_us.append(_recorded_us(record))
        chunk.traces[vector.vector.event_id] = processing.traceparent(record)
    return chunk


def _recorded_us(record: ConsumerRecord) -> int:
    """When the vector's purchase was recorded, microseconds since 1970: as the header says, else the vector itself."""
    recorded = header(record.headers, RECORDED_TIME_HEADER)
    if recorded is not None:
        with contextlib.suppress(ValueError, TypeError):
            return epoch_micros(recorded)
    return int(record.timestamp) * 1000


def _result(mine: Claim, theirs: Claim) -> str:
    if theirs is mine:
        return "won"
    if theirs.fingerprint not in (mine.fingerprint, ANY_BODY):
        # The features service refuses the second body of an event; here it came with the claim of the first, over REST.
        # The claim is the event's one decision.
        log.warning("claimed_for_another_body", event_id=mine.event_id)
        return "conflict"
    return "lost" if theirs.published else "repaired"


def _count(
    chunk: _Chunk, decisions: Sequence[Decision], vectors: Sequence[FeatureVector], results: Sequence[str], took: float
) -> None:
    """All of the chunk at once where that is possible: looking a counter up costs more than the counting."""
    for result, times in Counter(results).items():
        CLAIMS.labels("stream", result).inc(times)
        EVENTS.labels(SERVICE, topics.FEATURES.name, "decided" if result == "won" else "known").inc(times)
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
        EVENTS.labels(SERVICE, topics.FEATURES.name, "duplicate").inc(chunk.repeats)
    for reason in chunk.reasons:
        EVENTS.labels(SERVICE, topics.FEATURES.name, "refused").inc()
        DEAD_LETTERS.labels(SERVICE, reason).inc()
