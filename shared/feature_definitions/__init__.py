"""The features: declared once, computed by one piece of code in the stream, at checkout and over history.

Read `declarations` for what there is, `windows` and `totals` for how the rolling ones are made, `state` for what is
kept of a customer, `vector` for how all of it becomes a `FeatureVector`. Standard library, msgspec and the contracts
only.
"""

from shared.feature_definitions.declarations import (
    FEATURE_NAMES,
    FEATURE_SET_VERSION,
    FEATURES,
    MODEL_FEATURES,
    Feature,
)
from shared.feature_definitions.state import CustomerState, Sighting
from shared.feature_definitions.vector import feature_hash, features_of, make_vector

__all__ = [
    "FEATURES",
    "FEATURE_NAMES",
    "FEATURE_SET_VERSION",
    "MODEL_FEATURES",
    "CustomerState",
    "Feature",
    "Sighting",
    "feature_hash",
    "features_of",
    "make_vector",
]
