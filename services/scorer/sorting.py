"""A chunk of records of bnpl-features, sorted out: what is to be decided, what repeats it, what is refused. Pure."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import msgspec
import structlog
from aiokafka import ConsumerRecord

from services.scorer.claims import Claim
from services.scorer.metrics import SERVICE
from services.scorer.vectors import Vector, read_vector
from shared.contracts.events import FeatureVector
from shared.contracts.headers import RECORDED_TIME_HEADER, header, schema_version_of
from shared.contracts.identity import epoch_micros, from_record_timestamp
from shared.contracts.rejections import Rejection, RejectionReason
from shared.kafka.dead_letters import letter_record
from shared.kafka.producer import OutgoingRecord
from shared.telemetry.tracing import Processing

log = structlog.get_logger()


@dataclass
class Chunk:
    """Records of one chunk, each event once, and the refused ones."""

    vectors: dict[str, Vector] = field(default_factory=dict)
    records: dict[str, ConsumerRecord] = field(default_factory=dict)
    """Event id → that of its vector."""
    recorded_us: list[int] = field(default_factory=list)
    """When each one's purchase was recorded."""
    traces: dict[str, str | None] = field(default_factory=dict)
    """Event id → the trace that it belongs to."""
    others: list[tuple[Vector, ConsumerRecord]] = field(default_factory=list)
    """Further vectors of these events: sent again after a crash, or of another purchase under the same id."""
    letters: list[OutgoingRecord] = field(default_factory=list)
    reasons: list[str] = field(default_factory=list)
    size: int = 0
    repeats: int = 0
    """Of the others, those that say the same once more: the first one counts."""

    def partition_of(self, event_id: str) -> int:
        partition: int = self.records[event_id].partition
        return partition

    def refuse(self, record: ConsumerRecord, rejection: Rejection) -> None:
        received_at = from_record_timestamp(record.timestamp)
        self.letters.append(letter_record(rejection, record, service=SERVICE, received_at=received_at))
        self.reasons.append(rejection.reason.value)
        log.warning("vector_refused", partition=record.partition, offset=record.offset, reason=str(rejection)[:200])

    def refuse_conflicts(self, held: Mapping[str, Claim]) -> tuple[set[str], list[ConsumerRecord]]:
        """Refuse every vector whose event was decided for another purchase (`held`: event id → its claim).

        Gives the events whose first vector was refused, and of these the records that are of the claim: they are still
        to be looked at.

        The features service refuses the second body of an event where it knows of the first: not if that came over REST
        a moment ago, nor if it is another customer's, whose state it doesn't look at. The claim is the event's one
        decision.
        """
        refused = {event_id for event_id, claim in held.items() if not is_of(claim, self.vectors[event_id])}
        for event_id in refused:
            self.refuse(self.records[event_id], _conflict())
        later = []
        for vector, record in self.others:
            event_id = vector.vector.event_id
            if not is_of(held[event_id], vector):
                self.refuse(record, _conflict())
            elif event_id in refused:
                later.append(record)
            else:
                self.repeats += 1
        return refused, later


def sort_out(records: Sequence[ConsumerRecord], processing: Processing) -> Chunk:
    chunk = Chunk(size=len(records))
    for record in records:
        try:
            vector = read_vector(record.value, record.key, schema_version_of(record.headers))
        except Rejection as rejection:
            chunk.refuse(record, rejection)
            continue
        event_id = vector.vector.event_id
        if event_id in chunk.vectors:
            chunk.others.append((vector, record))
            continue
        chunk.vectors[event_id] = vector
        chunk.records[event_id] = record
        chunk.recorded_us.append(_recorded_us(record))
        chunk.traces[event_id] = processing.traceparent(record)
    return chunk


def is_of(claim: Claim, vector: Vector) -> bool:
    """Whether the claim was made for the vector's purchase, as far as can be told."""
    if claim.fingerprint == vector.fingerprint:
        return True
    try:
        return claim.about().is_of(vector.vector.transaction)
    except msgspec.DecodeError:
        return True  # restored from a record that tells nothing: the event's one decision all the same


def vectors_of(chunk: Chunk) -> list[FeatureVector]:
    return [vector.vector for vector in chunk.vectors.values()]


def _conflict() -> Rejection:
    return Rejection(RejectionReason.CONFLICT, "event_id", "the purchase that this event was decided for")


def _recorded_us(record: ConsumerRecord) -> int:
    """When the vector's purchase was recorded, microseconds since 1970: as the header says, else the vector itself."""
    recorded = header(record.headers, RECORDED_TIME_HEADER)
    if recorded is not None:
        with contextlib.suppress(ValueError, TypeError):
            return epoch_micros(recorded)
    return int(record.timestamp) * 1000
