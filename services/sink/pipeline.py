"""Kafka records to rows. Pure: no Kafka, no BigQuery.

A record that the shared decoder refuses gets no row: whoever owns the topic's refusals has dead-lettered it. What is
refused because of state (another body under a known event id), or was by another limit, can't be told from the record;
the caller knows those offsets from the features service.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from typing import Any

import msgspec

from services.sink.flat import flat_body
from shared.contracts import money, topics
from shared.contracts.enumerations import BLOCK_TYPES
from shared.contracts.events import DeadLetter
from shared.contracts.headers import schema_version_of
from shared.contracts.identity import epoch_micros, partition_of
from shared.contracts.log import StampedRecord, check_can_be_rerouted
from shared.contracts.pseudonyms import OFF, Kind, Pseudonyms
from shared.contracts.records import (
    MAX_RECORD_BYTES,
    decode_decision,
    decode_decision_update,
    decode_outcome,
)
from shared.contracts.rejections import Rejection, RejectionReason
from shared.contracts.transactions import (
    BY_LIMIT,
    LONGEST_AHEAD_DAYS,
    AcceptedTransaction,
    Door,
    Limits,
    decode_transaction,
)
from shared.contracts.wire import UNREADABLE
from shared.feature_definitions.received import read_vector
from shared.settings import MOST_BODY_BYTES
from shared.warehouse import tables
from shared.warehouse.columns import Row, Table

LAST_KAFKA_MS = 253_402_300_799_000
"""The end of the year 9999, where BigQuery's timestamps end; a record's own timestamp may be any 64-bit number."""

MAX_INT64 = 2**63 - 1

WIDEST = Limits(money.MOST, MOST_BODY_BYTES, LONGEST_AHEAD_DAYS * 86_400)
"""No setting lets more in, or no table."""

Rows = list[tuple[Table, Row]]
"""Of one record: one row in each table that mirrors its topic."""


@dataclass(frozen=True, slots=True)
class Rules:
    """What the decoding of a record depends on beside the record."""

    partitions: int
    limits: Limits
    pseudonyms: Pseudonyms = OFF


@dataclass(frozen=True, slots=True)
class Built:
    """Consecutive records of one partition as rows."""

    rows: Mapping[Table, list[Row]]
    """In the order of their offsets. Each table of the topic is named, perhaps with none."""
    written: int
    """Records that have rows."""
    refused: Mapping[str, int]
    """Reason to how many records have none."""
    by_our_limits: Sequence[int] = ()
    """Offsets of those of which nothing but our own limits says so."""


def build(
    topic: str,
    records: Sequence[StampedRecord],
    rules: Rules,
    refused_offsets: frozenset[int],
    accepted_offsets: frozenset[int] = frozenset(),
) -> Built:
    """`refused_offsets`: of this partition, refused whatever the record itself says. `accepted_offsets`: accepted
    whatever our limits say."""
    widest = replace(rules, limits=WIDEST)
    rows: dict[Table, list[Row]] = {table: [] for table in tables.tables_of(topic)}
    refused: dict[str, int] = {}
    by_our_limits: list[int] = []
    written = 0
    for record in records:
        try:
            built = rows_of(record, widest if record.offset in accepted_offsets else rules)
            if record.offset in refused_offsets:
                raise Rejection(RejectionReason.CONFLICT, "event_id", "the body that this event had before")
            for table, row in built:
                rows[table].append(row)
            written += 1
        except Rejection as rejection:
            refused[rejection.reason.value] = refused.get(rejection.reason.value, 0) + 1
            doubted = rejection.reason in BY_LIMIT and record.offset not in refused_offsets
            # Any other fault of it may come behind the limit. Where it lies wrong, its copy is judged.
            if doubted and not lies_wrong(record, rules) and _is_sound(record, rules):
                by_our_limits.append(record.offset)
    return Built(rows, written, refused, by_our_limits)


def lies_wrong(record: StampedRecord, rules: Rules) -> bool:
    """Whether the record lies in a partition that isn't its key's."""
    return record.key is not None and partition_of(record.key, rules.partitions) != record.partition


def _is_sound(record: StampedRecord, rules: Rules) -> bool:
    """Whether some limits would let it in."""
    try:
        rows_of(record, replace(rules, limits=WIDEST))
    except Rejection:
        return False
    return True


def rows_of(record: StampedRecord, rules: Rules) -> Rows:
    """The rows of one record. Raises `Rejection` where the decoder refuses it."""
    built = _BUILDERS[record.topic](record, rules)
    place = {
        "kafka_topic": record.topic,
        "kafka_partition": record.partition,
        "kafka_offset": record.offset,
    }
    for table, row in built:
        row.update(place)
        if table is not tables.RAW_TRANSACTIONS:
            row["kafka_timestamp"] = kafka_us(record)
        table.check(row)
    return built


def _transaction(record: StampedRecord, rules: Rules) -> Rows:
    accepted = decode_transaction(
        record.value,
        door=Door.TOPIC,
        received_us=record.timestamp * 1000,
        limits=rules.limits,
        schema_version=schema_version_of(record.headers),
    )
    misplaced = _is_misplaced(record, accepted.transaction.customer_id, rules)
    accepted = rules.pseudonyms.transaction(accepted)
    transaction = accepted.transaction
    raw: Row = {
        "_timestamp": accepted.occurred_us,
        "json_body": _json(flat_body(accepted.document, accepted.occurred_us)),
        "_ingestion_timestamp": kafka_us(record),
        "event_id": transaction.event_id,
    }
    return [(tables.RAW_TRANSACTIONS, raw), (tables.TRANSACTIONS, _typed(accepted, misplaced))]


def _typed(accepted: AcceptedTransaction, misplaced: bool) -> Row:
    transaction = accepted.transaction
    row: Row = {
        name: getattr(transaction, name)
        for name in ("event_id", "source", "transaction_id", "customer_id", "currency", "status")
    }
    row["occurred_at"] = accepted.occurred_us
    row["amount"] = Decimal(accepted.amount_minor).scaleb(-money.MINOR_DIGITS[transaction.currency])
    for name in BLOCK_TYPES:
        block = getattr(transaction, name)
        if block is not None:
            for field in block.__struct_fields__:
                row[f"{name}_{field}"] = getattr(block, field)
    row["fingerprint"] = accepted.fingerprint.hex()
    row["misplaced"] = misplaced
    return row


def _outcome(record: StampedRecord, rules: Rules) -> Rows:
    accepted = decode_outcome(
        record.value, received_us=record.timestamp * 1000, schema_version=schema_version_of(record.headers)
    )
    outcome = accepted.outcome
    row: Row = {
        "event_id": outcome.event_id,
        "customer_id": rules.pseudonyms.of(Kind.CUSTOMER, outcome.customer_id),
        "defaulted": outcome.defaulted,
        "days_to_first_missed_payment": outcome.days_to_first_missed_payment,
        "observed_at": accepted.observed_us,
        "misplaced": _is_misplaced(record, outcome.customer_id, rules),
    }
    return [(tables.OUTCOMES, row)]


def _is_misplaced(record: StampedRecord, customer_id: str, rules: Rules) -> bool:
    """Whether the record lies in a partition that isn't its key's. One that lies right must be the customer's.

    A misplaced record is only passed over where it lies, whatever is in it: it is judged where it was sent again.
    """
    if lies_wrong(record, rules):
        check_can_be_rerouted(record)
        return True
    if record.key != customer_id.encode():
        raise Rejection(RejectionReason.KEY, "customer_id", "the record's key")
    return False


def _vector(record: StampedRecord, rules: Rules) -> Rows:
    version = schema_version_of(record.headers)
    vector, occurred_us = read_vector(record.value, record.key, version)
    row: Row = {
        "event_id": vector.event_id,
        # Made before there were pseudonyms, it still has the id itself. So in what follows.
        "customer_id": rules.pseudonyms.once(Kind.CUSTOMER, vector.customer_id),
        "occurred_at": occurred_us,
        "feature_set_version": vector.feature_set_version,
        "features": _json(vector.features),
        "feature_hash": vector.feature_hash,
        "as_of_transactions": vector.as_of.transactions,
        "as_of_outcomes": vector.as_of.outcomes,
        "computed_at": _micros_or_none(vector.computed_at),
        "state": vector.state.value,
    }
    return [(tables.FEATURES, row)]


def _decision(record: StampedRecord, rules: Rules) -> Rows:
    decision = decode_decision(record.value)
    value = record.value or b""
    customer_id = rules.pseudonyms.once(Kind.CUSTOMER, decision.customer_id)
    row: Row = {
        "prediction_timestamp": _micros(decision.decided_at, "decided_at"),
        "event_id": decision.event_id,
        "transaction_id": decision.transaction_id,
        "customer_id": customer_id,
        "occurred_at": _micros(decision.occurred_at, "occurred_at"),
        "decision": decision.decision.value,
        "probability_of_default": decision.probability_of_default,
        "expected_loss": decision.expected_loss,
        "reasons": _json(decision.reasons),
        "model_version": decision.model_version,
        "policy_version": decision.policy_version,
        "feature_set_version": decision.feature_set_version,
        "features": _json(decision.features),
        "feature_hash": decision.feature_hash,
        "as_of_transactions": decision.as_of.transactions,
        "as_of_outcomes": decision.as_of.outcomes,
        "variant": decision.variant,
        "shadow": _json(decision.shadow),
        "degraded": decision.degraded,
        "channel": decision.channel,
        # One from before there were pseudonyms names the customer, and no longer were itself under another name.
        "record_json": value.decode() if customer_id == decision.customer_id else None,
        "record_sha256": hashlib.sha256(value).hexdigest(),
    }
    return [(tables.DECISIONS, row)]


def _update(record: StampedRecord, rules: Rules) -> Rows:
    update = decode_decision_update(record.value)
    row: Row = {
        "update_id": update.update_id,
        "event_id": update.event_id,
        "customer_id": rules.pseudonyms.once(Kind.CUSTOMER, update.customer_id),
        "kind": update.kind.value,
        "verdict": None if update.verdict is None else update.verdict.value,
        "actor": update.actor,
        "note": update.note,
        "updated_at": _micros_or_none(update.updated_at),
    }
    return [(tables.DECISION_UPDATES, row)]


def _dead_letter(record: StampedRecord, rules: Rules) -> Rows:
    # Not through the shared parser: a letter's value is far longer than any text that a purchase may hold.
    if record.value is None or len(record.value) > MAX_RECORD_BYTES:
        raise Rejection(RejectionReason.SIZE, "", f"a letter of at most {MAX_RECORD_BYTES} bytes")
    try:
        letter = _letters.decode(record.value)
    except UNREADABLE as error:
        raise Rejection(RejectionReason.SHAPE, "", f"a dead letter ({error})") from None
    for name in ("partition", "offset", "value_bytes"):
        if not -MAX_INT64 <= getattr(letter, name) <= MAX_INT64:
            raise Rejection(RejectionReason.RANGE, name, "a 64-bit integer")
    row: Row = {
        "reason": letter.reason,
        "detail": letter.detail,
        "service": letter.service,
        "source_topic": letter.topic,
        "source_partition": letter.partition,
        "source_offset": letter.offset,
        "received_at": _micros_or_none(letter.received_at),
        "key_base64": letter.key_base64,
        "value_base64": letter.value_base64,
        "value_sha256": letter.value_sha256,
        "value_bytes": letter.value_bytes,
        "headers": _json(letter.headers),
    }
    if rules.pseudonyms.on:
        # What couldn't be read can't be renamed. The topic has all of it, for as long as it is worth replaying.
        for column in tables.DEAD_LETTERS.personal:
            row[column.name] = None
    return [(tables.DEAD_LETTERS, row)]


_letters = msgspec.json.Decoder(DeadLetter)
_BUILDERS: dict[str, Callable[[StampedRecord, Rules], Rows]] = {
    topics.TRANSACTIONS.name: _transaction,
    topics.OUTCOMES.name: _outcome,
    topics.FEATURES.name: _vector,
    topics.DECISIONS.name: _decision,
    topics.DECISION_UPDATES.name: _update,
    topics.DEAD_LETTERS.name: _dead_letter,
}


def kafka_us(record: StampedRecord) -> int:
    """When it came to Kafka, as its rows say it: microseconds since 1970, kept within what BigQuery holds."""
    return min(max(record.timestamp, 0), LAST_KAFKA_MS) * 1000


def arrived_in(table: Table) -> str:
    """The column that says it."""
    return "_ingestion_timestamp" if table is tables.RAW_TRANSACTIONS else tables.ARRIVED.name


def _micros(time: str, name: str) -> int:
    micros = _micros_or_none(time)
    if micros is None:
        raise Rejection(RejectionReason.DATE, name, "an ISO 8601 time with its zone")
    return micros


def _micros_or_none(time: str) -> int | None:
    """None for what isn't a time: a column that nobody decides on doesn't refuse its record."""
    try:
        return epoch_micros(time) if datetime.fromisoformat(time).tzinfo is not None else None
    except (ValueError, OverflowError):
        return None


_encoder = msgspec.json.Encoder()


def _json(value: Any) -> str:
    return _encoder.encode(value).decode()
