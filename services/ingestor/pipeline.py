"""Lines in, records or rejections out. Pure: the same line in the same reading gives the same bytes."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta

import orjson

from services.ingestor import simtom
from services.ingestor.lines import Line
from services.ingestor.simtom import CustomerScope, Run
from shared.contracts import identity, topics
from shared.contracts.dead_letters import dead_letter
from shared.contracts.events import encode
from shared.contracts.headers import Headers, cloud_event
from shared.contracts.rejections import MALFORMED, TOO_LARGE, InputWarning, Rejection, RejectionReason
from shared.contracts.transactions import Door, Limits, decode_transaction
from shared.contracts.wire import parse_object

SERVICE = "ingestor"
NOT_FROM_KAFKA = -1
PREFIX = b"data:"


@dataclass(frozen=True, slots=True)
class Reading:
    """What a line alone doesn't say."""

    run: Run
    scope: CustomerScope
    limits: Limits
    server_day: date
    """The day (UTC) on the source's clock."""
    received_us: int
    """When the lines came in, microseconds since 1970, by the source's clock where ours shows another time."""


@dataclass(frozen=True, slots=True)
class Record:
    """What is to stand on Kafka; the key decides the partition."""

    topic: str
    key: bytes | None
    value: bytes
    headers: Headers


@dataclass(frozen=True, slots=True)
class Accepted:
    """A line that became a transaction, and an outcome where it held one."""

    line: Line
    event_id: str
    day: date
    """UTC day of the event."""
    records: tuple[Record, ...]
    warnings: tuple[InputWarning, ...]


@dataclass(frozen=True, slots=True)
class Refused:
    """A line that breaks a rule: one dead letter."""

    line: Line
    rejection: Rejection


def read_line(line: Line, reading: Reading) -> Accepted | Refused:
    """Map and check one line. Never raises for what stands in the line."""
    try:
        return _accept(line, reading)
    except Rejection as rejection:
        return Refused(line, rejection)


def letter_of(refused: Refused, reading: Reading) -> Record:
    """The dead letter of a refused line: its topic is the source, its offset the number of the line."""
    source, number = reading.run.source, refused.line.number
    received_at = identity.from_epoch_micros(reading.received_us)
    letter = dead_letter(
        refused.rejection,
        service=SERVICE,
        topic=source,
        partition=NOT_FROM_KAFKA,
        offset=number,
        received_at=received_at,
        key=None,
        value=refused.line.raw,
    )
    headers = cloud_event(event_id=f"{source}/{number}", kind="dead-letter", source=source, time=received_at)
    return Record(topics.DEAD_LETTERS.name, None, encode(letter), headers)


def _accept(line: Line, reading: Reading) -> Accepted:
    flat = _parse(line, reading.limits)
    document, labels = simtom.transaction_document(
        flat, run=reading.run, scope=reading.scope, server_day=reading.server_day
    )
    value = orjson.dumps(document)
    # The same decoder as every reader's: what it refuses never gets onto the topic.
    accepted = decode_transaction(value, door=Door.TOPIC, received_us=reading.received_us, limits=reading.limits)
    transaction = accepted.transaction
    outcome = simtom.outcome_of(transaction, accepted.occurred_us, labels)
    key = transaction.customer_id.encode()
    records = [_record(topics.TRANSACTIONS.name, key, value, transaction.event_id, "transaction", reading,
                       transaction.occurred_at)]  # fmt: skip
    if outcome is not None:
        records.append(_record(topics.OUTCOMES.name, key, encode(outcome), outcome.event_id, "outcome", reading,
                               outcome.observed_at))  # fmt: skip
    day = (identity.EPOCH + timedelta(microseconds=accepted.occurred_us)).date()
    return Accepted(line, transaction.event_id, day, tuple(records), accepted.warnings)


def _record(topic: str, key: bytes, value: bytes, event_id: str, kind: str, reading: Reading, time: str) -> Record:
    # 32 hex digits are just what a W3C trace id has: the trace of an event can be found by its event id. Nobody has
    # sampled it so far (services.ingestor.tracing).
    traceparent = f"00-{event_id}-{event_id[:16]}-00"
    headers = cloud_event(event_id=event_id, kind=kind, source=reading.run.source, time=time, traceparent=traceparent)
    return Record(topic, key, value, headers)


def _parse(line: Line, limits: Limits) -> dict[str, object]:
    if line.overlong:
        raise Rejection(
            RejectionReason.SIZE, "", f"lines of at most {len(line.raw)} bytes; the rest was not kept", status=TOO_LARGE
        )
    if not line.raw.startswith(PREFIX):
        raise Rejection(RejectionReason.SYNTAX, "", "a line of the form `data: {json}`", status=MALFORMED)
    try:
        return parse_object(line.raw[len(PREFIX) :].strip(), max_bytes=limits.max_body_bytes).body
    except Rejection:
        if line.ended:
            raise
        # Wherever the cut fell (within a character, before the first byte), it is the cut that is wrong.
        raise Rejection(
            RejectionReason.SYNTAX, "", "a whole line; the stream ended in the middle of it", status=MALFORMED
        ) from None
