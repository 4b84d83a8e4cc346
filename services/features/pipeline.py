"""Records in; vectors, letters and new states out. Pure: the same input gives the same output.

A batch goes through twice: `decode` tells whose states are needed, `process` does the work with them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from shared.contracts.events import AsOf, FeatureVector
from shared.contracts.headers import (
    RECORDED_TIME_HEADER,
    REROUTED_HEADER,
    Headers,
    cloud_event,
    schema_version_of,
)
from shared.contracts.identity import from_record_timestamp, partition_of
from shared.contracts.log import check_can_be_rerouted
from shared.contracts.pseudonyms import OFF, Pseudonyms
from shared.contracts.records import AcceptedOutcome, decode_outcome
from shared.contracts.rejections import InputWarning, Rejection, RejectionReason
from shared.contracts.topics import TRANSACTIONS
from shared.contracts.transactions import BY_LIMIT, AcceptedTransaction, Door, Limits, decode_transaction
from shared.feature_definitions import CustomerState, Sighting, make_vector

SERVICE = "features"
SOURCE = f"flit/{SERVICE}"
MICROS_PER_MILLI = 1000
MICROS_PER_SECOND = 1_000_000


@dataclass(frozen=True, slots=True)
class LogRecord:
    """A Kafka record, as far as the pipeline needs it."""

    topic: str
    partition: int
    offset: int
    timestamp_ms: int
    key: bytes | None
    value: bytes | None
    headers: Headers = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Misplaced:
    """A record that lies in another partition than its key gives."""

    partition: int
    """Where it belongs."""


Decoded = AcceptedTransaction | AcceptedOutcome | Misplaced | Rejection


@dataclass
class BatchResult:
    """What a batch leads to, in the order of its records. All of it has to be durable before the position moves."""

    vectors: list[tuple[FeatureVector, LogRecord]] = field(default_factory=list)
    """With the record that each was made for."""
    refusals: list[tuple[Rejection, LogRecord]] = field(default_factory=list)
    reroutes: list[tuple[Misplaced, LogRecord]] = field(default_factory=list)
    refused_by_state: list[int] = field(default_factory=list)
    refused_by_limit: list[int] = field(default_factory=list)
    """Offsets of transactions whose refusal doesn't follow from the record alone, but from what came before it, or from
    the settings of the moment."""
    changed: dict[str, CustomerState] = field(default_factory=dict)
    warnings: Counter[InputWarning] = field(default_factory=Counter)
    results: Counter[str] = field(default_factory=Counter)
    """`ok`, `duplicate`, `refused`, `rerouted`."""


def decode(record: LogRecord, *, partitions: int, limits: Limits, pseudonyms: Pseudonyms = OFF) -> Decoded:
    """Decode one record of either input topic. Everything after it knows the customer by his pseudonym only."""
    received_us = record.timestamp_ms * MICROS_PER_MILLI
    try:
        version = schema_version_of(record.headers)  # where it can't be taken apart, its key isn't to be trusted either
        if record.key is None:
            raise Rejection(RejectionReason.KEY, "key", "the customer_id as the record's key")
        home = partition_of(record.key, partitions)
        if home != record.partition:
            check_can_be_rerouted(record)
            return Misplaced(home)
        if record.topic == TRANSACTIONS.name:
            accepted = decode_transaction(
                record.value,
                door=Door.TOPIC,
                received_us=received_us,
                limits=limits,
                schema_version=version,
            )
            _check_key(record.key, accepted.transaction.customer_id)
            return pseudonyms.transaction(accepted)
        known = decode_outcome(record.value, received_us=received_us, schema_version=version)
        _check_key(record.key, known.outcome.customer_id)
        return replace(known, outcome=pseudonyms.outcome(known.outcome))
    except Rejection as rejection:
        return rejection


def customers_of(decoded: Iterable[Decoded]) -> list[str]:
    """Whose states a batch needs; each once."""
    names: dict[str, None] = {}
    for item in decoded:
        if isinstance(item, AcceptedTransaction):
            names[item.transaction.customer_id] = None
        elif isinstance(item, AcceptedOutcome):
            names[item.outcome.customer_id] = None
    return list(names)


def process(
    records: Sequence[LogRecord],
    decoded: Sequence[Decoded],
    states: Mapping[str, CustomerState],
    *,
    outcomes_seen: int,
    computed_at: str,
    limits: Limits,
    vectors: bool = True,
) -> BatchResult:
    """Take the records of one partition, in order, into the states; these are changed in place.

    `outcomes_seen`: offset up to which outcomes are in the states. `computed_at`: canonical time. `vectors`: whether
    they are wanted; a rebuild has no use for those that were sent already, and they are most of the cost.
    """
    result = BatchResult()
    for record, item in zip(records, decoded, strict=True):
        if isinstance(item, Rejection):
            result.refusals.append((item, record))
            if item.reason in BY_LIMIT and record.topic == TRANSACTIONS.name:
                result.refused_by_limit.append(record.offset)
            result.results["refused"] += 1
        elif isinstance(item, Misplaced):
            result.reroutes.append((item, record))
            result.warnings[InputWarning.PARTITION] += 1
            result.results["rerouted"] += 1
        elif isinstance(item, AcceptedOutcome):
            state = states[item.outcome.customer_id]
            fresh = state.add_outcome(item.outcome, item.observed_us)
            result.changed[item.outcome.customer_id] = state
            result.warnings.update(item.warnings)
            result.results["ok" if fresh else "duplicate"] += 1
        else:
            as_of = AsOf(transactions=record.offset - 1, outcomes=outcomes_seen)
            state = states[item.transaction.customer_id]
            if _purchase(result, record, item, state, limits):
                if vectors:
                    result.vectors.append((make_vector(state, item, as_of, computed_at), record))
                state.add_purchase(item)
                result.changed[item.transaction.customer_id] = state
                result.results["ok"] += 1
    return result


def _purchase(
    result: BatchResult, record: LogRecord, accepted: AcceptedTransaction, state: CustomerState, limits: Limits
) -> bool:
    """Whether it is one that the state doesn't know. Notes what else it is."""
    transaction = accepted.transaction
    sighting = state.sighting(transaction.event_id, accepted.fingerprint)
    if sighting is Sighting.CONFLICT:
        known = Rejection(RejectionReason.CONFLICT, "event_id", "the body that this event id came with before")
        result.refusals.append((known, record))
        result.refused_by_state.append(record.offset)
        result.results["refused"] += 1
        return False
    result.warnings.update(accepted.warnings)
    if sighting is Sighting.DUPLICATE:
        result.results["duplicate"] += 1
        return False
    latest = state.latest_us
    if latest is not None and accepted.occurred_us < latest - limits.max_lateness_seconds * MICROS_PER_SECOND:
        result.warnings[InputWarning.LATE] += 1
    return True


def _check_key(key: bytes, customer_id: str) -> None:
    if key != customer_id.encode():
        raise Rejection(RejectionReason.KEY, "key", "the customer_id as the record's key")


def rerouted_headers(record: LogRecord) -> Headers:
    """The record's own headers and the mark that it was moved, with the place that it came from."""
    origin = f"{record.topic}-{record.partition}-{record.offset}"
    return [*((name, value or b"") for name, value in record.headers), (REROUTED_HEADER, origin.encode())]


def vector_headers(vector: FeatureVector, record: LogRecord, traceparent: str | None) -> Headers:
    """`record`: the purchase that the vector was made for. `traceparent`: of its trace, which goes on."""
    headers = cloud_event(
        event_id=vector.event_id,
        kind="feature-vector",
        source=SOURCE,
        time=vector.computed_at,
        traceparent=traceparent,
    )
    headers.append((RECORDED_TIME_HEADER, from_record_timestamp(record.timestamp_ms).encode()))
    return headers
