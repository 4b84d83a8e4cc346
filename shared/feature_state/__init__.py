"""Customers' states in Redis: written by the features service, read by the checkout and the sink."""

from shared.feature_state.position import EMPTY, Move, Position, Standing
from shared.feature_state.store import (
    FeatureStateStore,
    FencedOff,
    PartitionCountMismatch,
    PseudonymMismatch,
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
