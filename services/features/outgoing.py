"""What a batch leads to, as Kafka records: vectors, and records sent to their right partition."""

from __future__ import annotations

from services.features.pipeline import LogRecord, rerouted_headers
from shared.contracts.events import FeatureVector, encode
from shared.contracts.headers import TRACEPARENT_HEADER, cloud_event, header
from shared.contracts.topics import FEATURES
from shared.kafka.producer import OutgoingRecord

SOURCE = "flit/features"

TRACEPARENT_LENGTH = 55
"""W3C Trace Context, version 00. Anything else is no trace, and may be of any size."""


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
    )


def rerouted(record: LogRecord, partition: int) -> OutgoingRecord:
    """The same record for the partition that its key gives. Its timestamp stays: the future is judged against it."""
    return OutgoingRecord(
        record.topic, record.key, record.value, rerouted_headers(record), partition, record.timestamp_ms
    )
