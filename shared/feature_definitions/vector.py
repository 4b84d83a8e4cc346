"""From a purchase and its customer's state to the vector: the one function that every runner calls."""

from __future__ import annotations

import hashlib

import orjson

from shared.contracts.events import AsOf, FeatureVector, Transaction, VectorState
from shared.contracts.transactions import AcceptedTransaction
from shared.feature_definitions.declarations import FEATURE_SET_VERSION, FEATURES
from shared.feature_definitions.rolling import Past
from shared.feature_definitions.state import CustomerState

_MADE_BY = tuple((feature.name, feature.of) for feature in FEATURES)


def features_of(state: CustomerState, accepted: AcceptedTransaction) -> dict[str, float | None]:
    """Every declared feature of the purchase, in declared order. Doesn't change the state.

    Rolling features are null where the purchase comes too late to be answered exactly (`state.can_answer`).
    """
    if not state.can_answer(accepted.occurred_us):
        nobody = Past(CustomerState(), accepted.occurred_us)
        return {feature.name: None if feature.rolling else feature.of(accepted, nobody) for feature in FEATURES}
    past = Past(state, accepted.occurred_us)
    return {name: of(accepted, past) for name, of in _MADE_BY}


def customer_features(state: CustomerState, t_us: int, currency: str) -> dict[str, float | None]:
    """The rolling features of a customer who buys nothing, at a moment; amounts in `currency`.

    Null where the state can't answer for that moment, and where a feature compares a purchase with the past.
    """
    nothing = AcceptedTransaction(
        transaction=Transaction(
            event_id="", source="", transaction_id="", customer_id="", occurred_at="", amount=0.0, currency=currency
        ),
        occurred_us=t_us,
        amount_minor=0,
        fingerprint=b"",
        warnings=(),
        document={},
    )
    past = Past(state, t_us) if state.can_answer(t_us) else None
    return {
        feature.name: None if past is None or feature.compares else feature.of(nothing, past)
        for feature in FEATURES
        if feature.rolling
    }


def feature_hash(features: dict[str, float | None]) -> str:
    """SHA-256, hex, of the canonical JSON: keys sorted, no white space, shortest round-trip numbers, UTF-8."""
    return hashlib.sha256(orjson.dumps(features, option=orjson.OPT_SORT_KEYS)).hexdigest()


def make_vector(
    state: CustomerState,
    accepted: AcceptedTransaction,
    as_of: AsOf,
    computed_at: str,
    freshness: VectorState = VectorState.FRESH,
) -> FeatureVector:
    """The vector of a purchase that isn't in `state` yet. `computed_at`: canonical time."""
    features = features_of(state, accepted)
    transaction = accepted.transaction
    return FeatureVector(
        event_id=transaction.event_id,
        customer_id=transaction.customer_id,
        occurred_at=transaction.occurred_at,
        feature_set_version=FEATURE_SET_VERSION,
        features=features,
        feature_hash=feature_hash(features),
        as_of=as_of,
        transaction=transaction,
        computed_at=computed_at,
        state=freshness,
    )
