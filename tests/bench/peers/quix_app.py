"""The features hop as a Quix Streams application: states in its RocksDB, whose changes go to a changelog topic.

`python -m tests.bench.peers.quix_app BROKERS STATE_DIR INPUT OUTPUT`, until SIGTERM.
"""

from __future__ import annotations

import sys
from typing import Any

from quixstreams import Application, State, message_context

from services.features.pipeline import LogRecord, vector_headers
from shared.contracts.events import FeatureVector, encode
from shared.contracts.headers import Headers
from shared.feature_definitions import CustomerState
from tests.bench.peers.vectors import CHECKPOINT_S, PRODUCER, vector_of

STATE = "state"
"""Its states have a prefix for each key of the stream, and names below it."""

Made = tuple[FeatureVector, LogRecord]


def take_in(value: bytes, key: bytes, timestamp_ms: int, headers: Any, state: State) -> Made | None:
    place = message_context()
    record = LogRecord(place.topic, place.partition, place.offset, timestamp_ms, key, value, headers or [])
    customer = CustomerState.decode(state.get_bytes(STATE))
    vector = vector_of(record, customer)
    if vector is None:
        return None
    state.set_bytes(STATE, customer.encode())
    return vector, record


def headers_of(made: Made, *_: Any) -> Headers:
    return vector_headers(*made, traceparent=None)


def main() -> None:
    brokers, folder, source, target = sys.argv[1:]
    app = Application(
        broker_address=brokers,
        consumer_group=f"bench-{target}",
        auto_offset_reset="earliest",
        commit_interval=CHECKPOINT_S,
        producer_extra_config=dict(PRODUCER),
        state_dir=folder,
        loglevel="WARNING",
    )
    purchases = app.topic(source, key_deserializer="bytes", value_deserializer="bytes")
    vectors = app.topic(target, key_serializer="bytes", value_serializer="bytes")
    made = app.dataframe(purchases).apply(take_in, stateful=True, metadata=True).filter(lambda each: each is not None)
    made.set_headers(headers_of).apply(lambda each: encode(each[0])).to_topic(vectors)
    app.run()


if __name__ == "__main__":
    main()
