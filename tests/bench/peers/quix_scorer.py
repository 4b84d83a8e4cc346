"""The scorer's stream door as a Quix Streams application calls ONNX Runtime: the vector's decoding, the model, a record
with its answer. No claim, no exposure, no policy, no reasons.

`python -m tests.bench.peers.quix_scorer BROKERS MODEL NAMES INPUT OUTPUT`, until SIGTERM. NAMES: of the model's inputs,
in order, with commas between.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
from quixstreams import Application

from shared.contracts.events import FeatureVector
from shared.contracts.records import decode_feature_vector
from tests.bench.onnx_session import session_of

PRODUCER = {"enable.idempotence": True, "acks": "all", "compression.type": "lz4", "partitioner": "murmur2"}
"""Of librdkafka: as durable as ours, as small on the wire, in the same partitions."""


def main() -> None:
    brokers, model, names, source, target = sys.argv[1:]
    session, inputs = session_of(Path(model).read_bytes()), names.split(",")

    def answer(vector: FeatureVector) -> dict[str, Any]:
        matrix = np.array([[vector.features[name] for name in inputs]], dtype=np.float32)
        probability = session.run(["probabilities"], {"features": matrix})[0][0, 1]
        return {"event_id": vector.event_id, "probability_of_default": float(probability)}

    app = Application(
        broker_address=brokers,
        consumer_group=f"bench-{target}",
        auto_offset_reset="earliest",
        producer_extra_config=dict(PRODUCER),
        loglevel="WARNING",
    )
    vectors = app.topic(source, key_deserializer="bytes", value_deserializer="bytes")
    answers = app.topic(target, key_serializer="bytes", value_serializer="json")
    read = app.dataframe(vectors).apply(lambda value: decode_feature_vector(value, schema_version=None)[0])
    read.apply(answer).to_topic(answers)
    app.run()


if __name__ == "__main__":
    main()
