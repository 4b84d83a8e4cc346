"""What the books hold of a record."""

from __future__ import annotations

from dataclasses import dataclass

Place = tuple[str, int, int]
"""Topic, partition, offset."""


@dataclass(slots=True)
class Purchase:
    """An accepted purchase: the first record of its event id that wasn't refused or lying in a wrong partition."""

    place: Place
    event_id: str
    customer_id: str
    terms: int
    """Stand for when it was, for how much and in what, within this audit."""


@dataclass(slots=True)
class VectorSeen:
    """A vector as it came by: what later checks need of it."""

    event_id: str
    place: Place
    customer_id: str
    state: str
    content: bytes
    """Of its features, and up to where they were made."""
    sent_ms: int
    """By its record's time: milliseconds since 1970."""
