"""Customers' states in Redis: written by the features service, read by the checkout and the sink."""

from shared.feature_state.store import FeatureStateStore, FencedOff, Move, PartitionCountMismatch, Position

__all__ = ["FeatureStateStore", "FencedOff", "Move", "PartitionCountMismatch", "Position"]
