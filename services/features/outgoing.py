"""What a batch leads to, as Kafka records: vectors, letters, and records sent to their right partition."""

from __future__ import annotations

from services.features.pipeline import BatchResult, LogRecord, rerouted_headers
from shared.contracts.events import FeatureVector, encode
from shared.contracts.headers import TRACEPARENT_HEADER, cloud_event, header
from shared.contracts.topics import FEATURES
from shared.kafka.dead_letters import letter_record
from shared.kafka.producer import OutgoingRecord

SERVICE = "features"
SOURCE = f"flit/{SERVICE}"

TRACEPARENT_LENGTH = 55
"""W3C Trace Context, version 00. Anything else is no trace, and may be of any size."""


def records_of(result: BatchResult, received_at: str) -> list[OutgoingRecord]:
    """All that has to be acknowledged before the position may move. `received_at`: of the letters."""
    return [
        *(vector_record(vector, record) for vector, record in result.vectors),
        *(rerouted(record, misplaced.partition) for misplaced, record in result.reroutes),
        *(
            letter_record(rejection, record, service=SERVICE, received_at=received_at)
            for rejection, record in result.refusals
        ),
    ]


def vector_record(vector: FeatureVector, record: LogRecord) -> OutgoingRecord:
    """`record`: the purchase that the vector was made for; its trace goes on."""
    trace = header(record.headers, TRACEPARENT_HEADER)
    return OutgoingRecord(
        FEATURES.name,
        vector.customer_id.encode(),
        encode(vector),
        cloud_event(
            event_id=vector.event_id,
            kind="feature-vector",
            source=SOURCE,
            time=vector.computed_at,
            traceparent=trace if trace is not None and len(trace) == TRACEPARENT_LENGTH else None,
        ),
        # That of the purchase, which a pseudonym as the key doesn't give.
        record.partition,
    )


def rerouted(record: LogRecord, partition: int) -> OutgoingRecord:
    """The same record for the partition that its key gives. Its timestamp stays: the future is judged against it."""
    return OutgoingRecord(
        record.topic, record.key, record.value, rerouted_headers(record), partition, record.timestamp_ms
    )
