"""What a batch leads to, as Kafka records: vectors, letters, and records sent to their right partition."""

from __future__ import annotations

from services.features.pipeline import SERVICE, BatchResult, LogRecord, rerouted_headers, vector_headers
from shared.contracts.events import FeatureVector, encode
from shared.contracts.identity import epoch_micros
from shared.contracts.topics import DAY_MS, FEATURES, OLDEST_RECORD_MS
from shared.kafka.dead_letters import letter_record
from shared.kafka.producer import OutgoingRecord
from shared.telemetry.tracing import Processing


def records_of(result: BatchResult, received_at: str, processing: Processing) -> list[OutgoingRecord]:
    """All that has to be acknowledged before the position may move. `received_at`: now, in canonical time."""
    now_ms = epoch_micros(received_at) // 1000 if result.reroutes else 0
    return [
        *(vector_record(vector, record, processing.traceparent(record)) for vector, record in result.vectors),
        *(rerouted(record, misplaced.partition, now_ms) for misplaced, record in result.reroutes),
        *(
            letter_record(rejection, record, service=SERVICE, received_at=received_at)
            for rejection, record in result.refusals
        ),
    ]


def vector_record(vector: FeatureVector, record: LogRecord, traceparent: str | None) -> OutgoingRecord:
    """`record`: the purchase that the vector was made for. `traceparent`: of its trace, which goes on."""
    headers = vector_headers(vector, record, traceparent)
    # The partition is that of the purchase, which a pseudonym as the key doesn't give.
    return OutgoingRecord(FEATURES.name, vector.customer_id.encode(), encode(vector), headers, record.partition)


def rerouted(record: LogRecord, partition: int, now_ms: int) -> OutgoingRecord:
    """The same record for the partition that its key gives. Its timestamp stays, since the future is judged against it,
    unless it has become too old for the brokers meanwhile: they would refuse it for ever."""
    timestamp_ms = record.timestamp_ms
    if timestamp_ms >= 0:  # -1 is none, which they take
        timestamp_ms = max(timestamp_ms, now_ms - OLDEST_RECORD_MS + DAY_MS)
    return OutgoingRecord(record.topic, record.key, record.value, rerouted_headers(record), partition, timestamp_ms)
