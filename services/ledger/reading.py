"""What a record says, read from its own JSON: by the contract, and by nothing that a service uses."""

from __future__ import annotations

import base64
import hashlib
import json
import operator
import sys
from array import array
from collections.abc import Mapping
from datetime import datetime
from functools import lru_cache
from typing import Any

from aiokafka import ConsumerRecord

from services.ledger.recompute import Subject
from shared.contracts import identity
from shared.feature_definitions import FEATURE_SET_VERSION  # the set's name, and nothing of how it is made

UNREADABLE = (ValueError, KeyError, TypeError, AttributeError, ArithmeticError, RecursionError)
"""What reading a record raises that no service lets in."""


def is_of_this_release(body: dict[str, Any]) -> bool:
    return bool(body["feature_set_version"] == FEATURE_SET_VERSION)


def transaction_of(record: ConsumerRecord) -> tuple[dict[str, Any], str, int]:
    """A purchase, its event id (the one that it came with, or the one that follows from it), and its time in
    microseconds since 1970. Raises UNREADABLE."""
    body: dict[str, Any] = json.loads(record.value.removeprefix(b"\xef\xbb\xbf"))
    t = micros_of(body["occurred_at"])
    event_id = body.get("event_id") or ""
    if not event_id.strip():
        moment = identity.from_epoch_micros(t)
        event_id = identity.event_id(source_of(body), body["transaction_id"], body["customer_id"], moment)
    return body, sys.intern(event_id), t


def own_of(subject: Subject) -> int:
    """What the features of a purchase take from itself, in a few bytes that stand for it within this audit."""
    return hash((subject.t, subject.body["currency"], *subject.attributes.values()))


def refused_of(letter: Mapping[str, Any]) -> tuple[tuple[str, int, int], tuple[str, str, str]]:
    """Where the refused record lay; and reason, SHA-256 stated, and SHA-256 of the bytes kept. Raises UNREADABLE."""
    place = (_text(letter, "topic"), operator.index(letter["partition"]), operator.index(letter["offset"]))
    kept = base64.b64decode(letter["value_base64"] or "")
    return place, (_text(letter, "reason"), _text(letter, "value_sha256"), sha256_of(kept))


def event_id_of(body: Mapping[str, Any]) -> str:
    """As the record states it. Raises UNREADABLE."""
    return _text(body, "event_id")


def asked_of(body: Mapping[str, Any]) -> dict[str, Any]:
    """Of a decision that was made over REST: what its features are checked by. Raises UNREADABLE."""
    seen = body["as_of"]
    return {
        "event_id": event_id_of(body),
        "customer_id": _text(body, "customer_id"),
        "as_of": {name: operator.index(seen[name]) for name in ("transactions", "outcomes")},
        "features": {name: None if value is None else value + 0.0 for name, value in body["features"].items()},
        "feature_set_version": body["feature_set_version"],
        "transaction_id": body["transaction_id"],
        "occurred_at": body["occurred_at"],
    }


def is_decided_on(asked: Mapping[str, Any], purchase: Mapping[str, Any], t: int) -> bool:
    """Whether a decision over REST (`asked_of`) was made of this body, of several under its event id. `t`: of it."""
    amount = asked["features"].get("amount")
    return (
        asked["transaction_id"] == purchase["transaction_id"]
        and micros_of(asked["occurred_at"]) == t
        and amount in (None, float(purchase["amount"]))
    )


def source_of(body: Mapping[str, Any]) -> str:
    source: str | None = body.get("source")
    return "producer" if source is None else source


def content_of(body: Mapping[str, Any]) -> bytes:
    """Of a vector, or of a decision: eight bytes that differ where its features do, as numbers. Raises UNREADABLE."""
    features, seen = body.get("features"), body.get("as_of")
    if features is not None and not isinstance(features, dict):
        raise TypeError("features: an object was expected")
    known = {} if features is None else {name: features[name] for name in sorted(features)}
    lacking = [name for name, value in known.items() if value is None]
    told = json.dumps([features is None, list(known), lacking, seen], sort_keys=True).encode()
    values = array("d", [0.0 if value is None else value for value in known.values()])
    return hashlib.blake2b(told + values.tobytes(), digest_size=8).digest()


def sha256_of(value: bytes) -> str:
    return hashlib.sha256(value).hexdigest()


@lru_cache(maxsize=4096)
def micros_of(time: str) -> int:
    """Microseconds since 1970. Raises UNREADABLE, for a time without a zone as well. Kept for a while: the time of a
    purchase stands in all that follows from it."""
    moment = datetime.fromisoformat(time.upper())
    if moment.tzinfo is None:
        raise ValueError(f"a time without a zone: {time}")
    return (moment - identity.EPOCH) // identity.EPOCH.resolution


def _text(body: Mapping[str, Any], name: str) -> str:
    value = body[name]
    if not isinstance(value, str):
        raise TypeError(f"{name}: text was expected")
    return sys.intern(value)  # the same few stand in many records, and in their rows
