"""Customers' states in Redis: written by the features service, read by the checkout and the sink."""

from shared.feature_state.store import (
    EMPTY,
    FeatureStateStore,
    FencedOff,
    Move,
    PartitionCountMismatch,
    Position,
    PseudonymMismatch,
    Standing,
    StatesLost,
)

__all__ = [
    "EMPTY",
    "FeatureStateStore",
    "FencedOff",
    "Move",
    "PartitionCountMismatch",
    "Position",
    "PseudonymMismatch",
    "Standing",
    "StatesLost",
]
