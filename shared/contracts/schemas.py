"""JSON Schemas of the events, and the AsyncAPI document, made from the event types themselves.

`python -m shared.contracts.schemas write` puts them under docs/reference, `check` tells whether they are up to date.
A released schema is never edited, since readers may hold it for years: a new version gets its own folder.
"""

from __future__ import annotations

import argparse
import copy
import inspect
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from shared.contracts import asyncapi, enumerations, events
from shared.contracts.examples import examples_of
from shared.contracts.field_notes import NOTES
from shared.contracts.transactions import REQUIRED
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

_BLOCK_OF_TYPE = {kind.__name__: block for block, kind in enumerations.BLOCK_TYPES.items()}
_ENUMERATION = "Other values are accepted and count as `unknown`"
_BOUNDS_OF_VALUES = ("minimum", "maximum", "minLength", "maxLength", "pattern", "format", "contentEncoding", "maxItems")

Schema = dict[str, Any]


def schema_of(name: str) -> Schema:
    """The JSON Schema (draft 2020-12) of one event: self-contained, with examples.

    A transaction's is what a producer has to send, so fields that are filled in are not required.
    """
    kind = EVENTS[name]
    _, components = msgspec.json.schema_components((kind,), ref_template="#/$defs/{name}")
    definitions = {title: _described(title, definition) for title, definition in components.items()}
    root = definitions.pop(kind.__name__)
    if kind is events.Transaction:
        root["required"] = list(REQUIRED)
    del root["title"]
    schema: Schema = {"$schema": DIALECT, "title": f"{kind.__name__}, schema version {SCHEMA_VERSION}", **root}
    schema["examples"] = examples_of(name)
    if definitions:
        schema["$defs"] = definitions
    return schema


def _described(title: str, definition: Schema) -> Schema:
    """The definition with what types can't say: meaning, bounds, formats, known values."""
    described = copy.deepcopy(definition) | {"title": title}
    kind = getattr(events, title)
    own_text = vars(kind).get("__doc__")
    if own_text:
        described["description"] = inspect.cleandoc(own_text)
    else:
        described.pop("description", None)
    for field, content in described.get("properties", {}).items():
        text, bounds = NOTES[kind][field]
        known = enumerations.VALUES.get((_BLOCK_OF_TYPE.get(title, ""), field))
        if known:
            text, content["examples"] = f"{text}. {_ENUMERATION}", list(known)
        content["description"] = text
        _bound(content, bounds)
    return described


def _bound(content: Schema, bounds: Mapping[str, Any]) -> None:
    """Put bounds where they apply: at the value itself, not at the null beside it."""
    values = [choice for choice in content.get("anyOf", ()) if choice != {"type": "null"}] or [content]
    for keyword, value in bounds.items():
        target = values[0] if keyword in _BOUNDS_OF_VALUES else content
        target[keyword] = value


def documents() -> dict[Path, str]:
    """Path below docs/reference → content of every generated file."""
    schemas = {name: schema_of(name) for name in EVENTS}
    files = {Path("schemas") / f"{name}.schema.json": schema for name, schema in schemas.items()}
    files[Path("asyncapi.json")] = asyncapi.document(schemas)
    return {path: json.dumps(content, indent=2, ensure_ascii=False) + "\n" for path, content in files.items()}


def write(folder: Path = FOLDER) -> None:
    """Write every generated file. A version that has no released copy yet gets one; an existing one stays as it is."""
    released = released_folder(folder)
    first_release = not released.exists()
    for path, content in documents().items():
        places = [folder / path]
        if first_release and path.parent == Path("schemas"):
            places.append(released / path.name)
        for place in places:
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_text(content, encoding="utf-8")


def differences(folder: Path = FOLDER) -> list[str]:
    """What isn't as the code makes it now: files that are missing, differ, or belong to no event."""
    wanted = documents()
    found = []
    for path, content in wanted.items():
        file = folder / path
        if not file.exists():
            found.append(f"{path} is missing")
        elif file.read_text(encoding="utf-8") != content:
            found.append(f"{path} differs")
    there = (file.relative_to(folder) for file in sorted((folder / "schemas").glob("*.json")))
    found.extend(f"{path} belongs to no event" for path in there if path not in wanted)
    if not released_folder(folder).exists():
        found.append(f"{released_folder(folder).relative_to(folder)} is missing")
    return found


def released_folder(folder: Path = FOLDER, version: int = SCHEMA_VERSION) -> Path:
    """Where the schemas of a version lie as they were released."""
    return folder / "schemas" / "released" / f"v{version}"


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m shared.contracts.schemas", description=__doc__)
    parser.add_argument("command", choices=["write", "check"])
    if parser.parse_args(arguments).command == "write":
        write()
        return
    found = differences()
    if found:
        sys.exit("; ".join(found) + ": run `python -m shared.contracts.schemas write`")


if __name__ == "__main__":
    main()
