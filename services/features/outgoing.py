"""What a batch leads to, as Kafka records: vectors, letters, and records sent to their right partition."""

from __future__ import annotations

from services.features.pipeline import SERVICE, BatchResult, LogRecord, rerouted_headers, vector_headers
from shared.contracts.events import FeatureVector, encode
from shared.contracts.topics import FEATURES
from shared.kafka.dead_letters import letter_record
from shared.kafka.producer import OutgoingRecord
from shared.telemetry.tracing import Processing


def records_of(result: BatchResult, received_at: str, processing: Processing) -> list[OutgoingRecord]:
    """All that has to be acknowledged before the position may move. `received_at`: of the letters."""
    return [
        *(vector_record(vector, record, processing.traceparent(record)) for vector, record in result.vectors),
        *(rerouted(record, misplaced.partition) for misplaced, record in result.reroutes),
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


def rerouted(record: LogRecord, partition: int) -> OutgoingRecord:
    """The same record for the partition that its key gives. Its timestamp stays: the future is judged against it."""
    return OutgoingRecord(
        record.topic, record.key, record.value, rerouted_headers(record), partition, record.timestamp_ms
    )
