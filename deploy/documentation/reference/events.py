"""The events field by field, from their JSON Schemas."""

from __future__ import annotations

import json
from typing import Any

from deploy.documentation import markdown
from shared.contracts.schemas import EVENTS, schema_of


def page() -> str:
    parts = []
    for name, kind in EVENTS.items():
        schema = schema_of(name)
        parts.append(f"## {kind.__name__}")
        parts.append(f"[JSON Schema](schemas/{name}.schema.json). {markdown.safe(schema.get('description', ''))}")
        parts.append(_fields(schema))
        for title, block in schema.get("$defs", {}).items():
            parts.append(f"**{title}**. {markdown.safe(block.get('description', ''))}")
            parts.append(_fields(block))
        example = json.dumps(schema["examples"][0], indent=2, ensure_ascii=False)
        parts.append(f"```json\n{example}\n```")
    return markdown.page(
        "Events",
        "What the records of each topic hold. The whole contract, for programs: [AsyncAPI 3](asyncapi.json).",
        *parts,
    )


def _fields(schema: dict[str, Any]) -> str:
    required = schema.get("required", [])
    rows = [
        [markdown.code(name), kind_of(field), "yes" if name in required else "", _about(field)]
        for name, field in schema.get("properties", {}).items()
    ]
    return markdown.table(["field", "value", "required", ""], rows)


def _about(field: dict[str, Any]) -> str:
    known = field.get("examples")
    values = f" Known: {', '.join(markdown.code(value) for value in known)}." if known else ""
    return markdown.safe(field.get("description", "")) + values


def kind_of(schema: dict[str, Any]) -> str:
    """The type of a value, in words; a type of its own by its name."""
    if "$ref" in schema:
        return str(schema["$ref"].rpartition("/")[2])
    if "anyOf" in schema:
        return " or ".join(kind_of(choice) for choice in schema["anyOf"])
    if "enum" in schema:
        return " or ".join(markdown.code(value) for value in schema["enum"])
    if "const" in schema:
        return markdown.code(schema["const"])
    kind = schema.get("type", "any")
    if kind == "array":
        return f"list of {kind_of(schema.get('items', {}))}"
    if isinstance(kind, list):
        return " or ".join(kind)
    return str(schema.get("format", kind)) if kind == "string" else str(kind)
