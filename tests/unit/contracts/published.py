"""The published schemas, and the decoder of each event, by the event's name."""

from __future__ import annotations

import json
from typing import Any

import jsonschema
import msgspec

from shared.contracts import schemas
from shared.contracts.events import DeadLetter
from shared.contracts.records import decode_decision, decode_decision_update, decode_feature_vector, decode_outcome
from shared.contracts.transactions import Door, Limits, decode_transaction, normalise_time
from shared.contracts.versions import SCHEMA_VERSION


def released(name: str, version: int = SCHEMA_VERSION) -> dict[str, Any]:
    file = schemas.released_folder(version=version) / f"{name}.schema.json"
    content: dict[str, Any] = json.loads(file.read_text())
    return content


def validator(schema: dict[str, Any]) -> Any:
    return jsonschema.Draft202012Validator(schema, format_checker=jsonschema.FormatChecker())


def decode(name: str, body: dict[str, Any], version: int = SCHEMA_VERSION) -> Any:
    raw, named = json.dumps(body).encode(), str(version)
    if name == "transaction":
        # No schema knows the clock that a time is held against.
        soon = normalise_time(dict(body), "occurred_at")
        return decode_transaction(raw, door=Door.TOPIC, received_us=soon, limits=Limits(), schema_version=named)
    if name == "outcome":
        return decode_outcome(raw, schema_version=named)
    if name == "feature-vector":
        return decode_feature_vector(raw, schema_version=named)
    if name == "dead-letter":
        return msgspec.json.decode(raw, type=DeadLetter)
    return {"decision": decode_decision, "decision-update": decode_decision_update}[name](raw)
