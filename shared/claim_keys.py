"""Where Redis keeps the claim of an event: written by the scorer, deleted where a customer is erased."""

from __future__ import annotations


def key_of(event_id: str) -> str:
    return f"d:{event_id}"
