"""A vector as it comes off the topic: what every reader asks of it, so that all refuse the same ones."""

from __future__ import annotations

from shared.contracts import money
from shared.contracts.events import FeatureVector
from shared.contracts.identity import epoch_micros
from shared.contracts.records import decode_feature_vector
from shared.contracts.rejections import Rejection, RejectionReason
from shared.contracts.transactions import MAX_INSTALLMENTS
from shared.feature_definitions.declarations import FEATURE_NAMES, FEATURE_SET_VERSION
from shared.feature_definitions.vector import feature_hash

_DECLARED = frozenset(FEATURE_NAMES)


def read_vector(value: bytes | None, key: bytes | None, schema_version: str | None) -> tuple[FeatureVector, int]:
    """The vector, and its `occurred_at` in microseconds since 1970. Raises `Rejection`.

    Beyond its shape: the key is the customer, vector and transaction are of the same event, the hash is that of the
    features, a vector of this feature set has its features, and the amount is one of its currency.
    """
    vector, occurred_us = decode_feature_vector(value, schema_version=schema_version)
    transaction = vector.transaction
    if key != vector.customer_id.encode():
        raise Rejection(RejectionReason.KEY, "customer_id", "the record's key")
    for name in ("event_id", "customer_id", "occurred_at"):
        if getattr(vector, name) != getattr(transaction, name):
            raise Rejection(RejectionReason.SHAPE, name, "the same in the vector and in its transaction")
    if feature_hash(vector.features) != vector.feature_hash:
        raise Rejection(RejectionReason.SHAPE, "feature_hash", "the SHA-256 of the features")
    if vector.feature_set_version == FEATURE_SET_VERSION and vector.features.keys() != _DECLARED:
        raise Rejection(RejectionReason.SHAPE, "features", f"the features of set {FEATURE_SET_VERSION}")
    # No door lets more in, and what reads a vector counts on it: in integers, and in times to keep something.
    if not 0 <= transaction.amount <= money.MOST:
        raise Rejection(RejectionReason.RANGE, "transaction.amount", f"0 to {money.MOST:.0f}")
    terms = transaction.installments
    if terms is not None and terms.count is not None and not 1 <= terms.count <= MAX_INSTALLMENTS:
        raise Rejection(RejectionReason.RANGE, "transaction.installments.count", f"1 to {MAX_INSTALLMENTS}")
    try:
        epoch_micros(vector.computed_at)
    except (ValueError, TypeError):
        raise Rejection(RejectionReason.DATE, "computed_at", "an ISO 8601 time with its zone") from None
    try:
        money.minor_units(transaction.amount, transaction.currency)
    except KeyError:
        raise Rejection(RejectionReason.ENUM, "transaction.currency", "a known currency") from None
    except money.TooPrecise as error:
        raise Rejection(RejectionReason.PRECISION, "transaction.amount", str(error)) from None
    return vector, occurred_us
