"""Where Redis keeps the claim of an event: written by the scorer, deleted where a customer is erased. And whether all
that the topic tells of are there."""

from __future__ import annotations

import msgspec

FINGERPRINT_BYTES = 16
HEAD_BYTES = 1 + FINGERPRINT_BYTES
"""Before the decision: a state, and which body of the event it was made of."""


COMPLETE = "decisions:complete"
"""There while no claim is missing that the topic has a decision for."""


class _Whose(msgspec.Struct):
    customer_id: str


_WHOSE = msgspec.json.Decoder(_Whose)


def key_of(event_id: str) -> str:
    return f"d:{event_id}"


def customer_of(claim: bytes) -> str | None:
    """Whose decision a claim holds; None where it doesn't say."""
    try:
        return _WHOSE.decode(claim[HEAD_BYTES:]).customer_id
    except msgspec.DecodeError:
        return None
