"""What a purchase leads to, for programs of others: by the decoder, the features and the encoder that our own service
calls, in the order in which it calls them. Needs msgspec and orjson only."""

from __future__ import annotations

from datetime import UTC, datetime

from services.features.pipeline import LogRecord, decode
from shared.contracts.events import AsOf, FeatureVector
from shared.contracts.identity import canonical_time
from shared.contracts.topics import DEFAULT_PARTITIONS
from shared.contracts.transactions import AcceptedTransaction, Limits
from shared.feature_definitions import CustomerState, Sighting, make_vector

LIMITS = Limits()

PRODUCER = {"enable.idempotence": True, "acks": "all", "compression.type": "lz4", "partitioner": "murmur2"}
"""Of librdkafka: as durable as ours, as small on the wire, in the same partitions."""

CHECKPOINT_S = 1.0
"""Between two of a peer's own: what a crash makes it do again. Ours writes states and position some times a second."""


def vector_of(record: LogRecord, state: CustomerState) -> FeatureVector | None:
    """The purchase's vector, and the purchase counted in the state; None where the state knows the purchase."""
    accepted = decode(record, partitions=DEFAULT_PARTITIONS, limits=LIMITS)
    assert isinstance(accepted, AcceptedTransaction), accepted
    if state.sighting(accepted.transaction.event_id, accepted.fingerprint) is not Sighting.NEW:
        return None
    as_of = AsOf(transactions=record.offset - 1, outcomes=-1)
    vector = make_vector(state, accepted, as_of, canonical_time(datetime.now(UTC)))
    state.add_purchase(accepted)
    return vector
