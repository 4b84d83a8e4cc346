"""JSON Schemas of the events, and the AsyncAPI document, made from the event types themselves.

`python -m shared.contracts.schemas write` puts them under docs/reference, `check` tells whether they are up to date.
A released schema is never edited: readers may hold it for years.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import msgspec

from shared.contracts import asyncapi, enumerations, events
from shared.contracts.transactions import MAX_ID_LENGTH, REQUIRED
from shared.contracts.versions import SCHEMA_VERSION

FOLDER = Path(__file__).parents[2] / "docs" / "reference"
DIALECT = "https://json-schema.org/draft/2020-12/schema"

EVENTS: dict[str, type[msgspec.Struct]] = {
    "transaction": events.Transaction,
    "outcome": events.Outcome,
    "feature-vector": events.FeatureVector,
    "decision": events.Decision,
    "decision-update": events.DecisionUpdate,
    "dead-letter": events.DeadLetter,
}

_TIMES = {"occurred_at", "observed_at", "computed_at", "decided_at", "updated_at", "received_at"}
_IDS = {"event_id", "transaction_id", "customer_id", "update_id"}

Schema = dict[str, Any]


def schema_of(name: str) -> Schema:
    """The JSON Schema of one event, self-contained."""
    (reference,), components = msgspec.json.schema_components((EVENTS[name],), ref_template="#/$defs/{name}")
    definitions = {key: _refined(key, value) for key, value in components.items()}
    root = definitions.pop(reference["$ref"].rsplit("/", 1)[-1])
    if name == "transaction":
        # What a producer has to send; the rest is filled in or stays unknown.
        root["required"] = list(REQUIRED)
    schema: Schema = {"$schema": DIALECT, "title": f"{name}, version {SCHEMA_VERSION}", **_without_title(root)}
    if definitions:
        schema["$defs"] = definitions
    return schema


def _refined(name: str, definition: Schema) -> Schema:
    """Add what the type alone can't say: times, ids, known values."""
    properties = definition.get("properties", {})
    for field, content in properties.items():
        if field in _TIMES:
            content["format"] = "date-time"
        if field in _IDS:
            content["minLength"], content["maxLength"] = 1, MAX_ID_LENGTH
        known = _known_values(name, field)
        if known:
            content["examples"] = list(known)
            content["description"] = "Other values are accepted and count as `unknown`."
        if field == "amount":
            content["minimum"] = 0
            content["description"] = "In the currency, with no more decimals than it has."
    return _without_title(definition) | {"title": name}


def _known_values(type_name: str, field: str) -> tuple[str, ...]:
    blocks = {kind.__name__: block for block, kind in enumerations.BLOCK_TYPES.items()}
    return enumerations.VALUES.get((blocks.get(type_name, ""), field), ())


def _without_title(definition: Schema) -> Schema:
    return {key: value for key, value in definition.items() if key != "title"}


def documents() -> dict[Path, str]:
    """Path below docs/reference → content of every generated file."""
    schemas = {name: schema_of(name) for name in EVENTS}
    files = {Path("schemas") / f"{name}.schema.json": schema for name, schema in schemas.items()}
    files[Path("asyncapi.json")] = asyncapi.document(schemas)
    return {path: json.dumps(content, indent=2, ensure_ascii=False) + "\n" for path, content in files.items()}


def differences() -> list[str]:
    """Files that aren't what the code makes of them now."""
    found = []
    for path, content in documents().items():
        file = FOLDER / path
        if not file.exists() or file.read_text() != content:
            found.append(str(path))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m shared.contracts.schemas", description=__doc__)
    parser.add_argument("command", choices=["write", "check"])
    if parser.parse_args().command == "write":
        for path, content in documents().items():
            (FOLDER / path).parent.mkdir(parents=True, exist_ok=True)
            (FOLDER / path).write_text(content)
        return
    outdated = differences()
    if outdated:
        sys.exit(f"not up to date: {', '.join(outdated)}; run `python -m shared.contracts.schemas write`")


if __name__ == "__main__":
    main()
