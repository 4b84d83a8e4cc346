"""What a batch leads to, as Kafka records: vectors, records sent to their right partition, dead letters."""

from __future__ import annotations

import msgspec

from services.features.pipeline import LogRecord, rerouted_headers
from shared.contracts.dead_letters import dead_letter
from shared.contracts.events import FeatureVector, encode
from shared.contracts.headers import TRACEPARENT_HEADER, cloud_event, header
from shared.contracts.rejections import Rejection
from shared.contracts.topics import DEAD_LETTERS, FEATURES
from shared.kafka.producer import OutgoingRecord

SOURCE = "flit/features"

TRACEPARENT_LENGTH = 55
"""W3C Trace Context, version 00. Anything else is no trace, and may be of any size."""

LARGEST_LETTER_BYTES = 900_000
"""Below the producer's limit of one request (1 MiB), with room for its framing. Others may put a megabyte into a key or
into headers; a letter that can't be sent would stop the partition for good."""


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


def letter_of(rejection: Rejection, record: LogRecord, service: str, received_at: str) -> OutgoingRecord:
    """The dead letter of a refused record. Headers and key are left out where they alone would make it too large."""
    letter = dead_letter(
        rejection,
        service=service,
        topic=record.topic,
        partition=record.partition,
        offset=record.offset,
        received_at=received_at,
        key=record.key,
        value=record.value,
        headers=record.headers,
    )
    key, value = record.key, encode(letter)
    if len(value) + len(key or b"") > LARGEST_LETTER_BYTES:
        key, value = None, encode(msgspec.structs.replace(letter, key_base64=None, headers={}))
    place = f"{record.topic}-{record.partition}-{record.offset}"
    marks = cloud_event(event_id=place, kind="dead-letter", source=SOURCE, time=received_at)
    return OutgoingRecord(DEAD_LETTERS.name, key, value, marks)
