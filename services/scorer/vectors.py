"""Vectors as they come from the topic. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from shared.contracts.events import FeatureVector
from shared.contracts.transactions import fingerprint
from shared.feature_definitions import received


@dataclass(frozen=True, slots=True)
class Vector:
    """A vector that may be decided on."""

    vector: FeatureVector
    fingerprint: bytes
    """Of its transaction: which body of the event it is."""


def read_vector(value: bytes | None, key: bytes | None, schema_version: str | None) -> Vector:
    """A record of bnpl-features as a vector. Raises `Rejection`."""
    vector, _ = received.read_vector(value, key, schema_version)
    return Vector(vector, fingerprint(vector.transaction))
