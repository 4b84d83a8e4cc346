"""The REST door, from the OpenAPI document that the scorer serves."""

from __future__ import annotations

import json
from typing import Any

from deploy.documentation import markdown
from deploy.documentation.reference.events import kind_of
from services.scorer.api import BodyLimits, UseCases, build_app


def document() -> dict[str, Any]:
    """As `/openapi.json` has it. Routes only ask their use cases when they are called, so none are needed here."""
    nobody: Any = None
    app = build_app(UseCases(*[nobody] * 6), nobody, lambda: None, BodyLimits(0, 0))
    return app.openapi()


def document_as_json() -> str:
    return json.dumps(document(), indent=2, ensure_ascii=False) + "\n"


def page() -> str:
    described = document()
    parts: list[str] = []
    for path, calls in described["paths"].items():
        for verb, call in calls.items():
            parts += [f"## {verb.upper()} {path}", *_call(call)]
    parts.append("## Schemas")
    for name, schema in sorted(described["components"]["schemas"].items()):
        if "properties" in schema:
            parts += [f"### {name}", markdown.safe(schema.get("description", "")), _properties(schema)]
    return markdown.page(
        "REST, from its OpenAPI document",
        "What the scorer serves at `/openapi.json` ([the same as a file](openapi.json)). With examples: "
        "[call by call](rest.md).",
        *(part for part in parts if part),
    )


def _call(call: dict[str, Any]) -> list[str]:
    said = [call[key].rstrip(".") for key in ("summary", "description") if call.get(key)]
    parts = [markdown.safe(". ".join(said) + ".")] if said else []
    parameters = [
        [
            markdown.code(one["name"]),
            one["in"],
            kind_of(one.get("schema", {})),
            markdown.safe(one.get("description", "")),
        ]
        for one in call.get("parameters", ())
    ]
    if parameters:
        parts.append(markdown.table(["parameter", "in", "value", ""], parameters))
    if "requestBody" in call:
        parts.append(f"Body: {_schemas(call['requestBody']['content'])}.")
    answers = [
        [status, markdown.safe(one.get("description", "")), _schemas(one.get("content", {}))]
        for status, one in sorted(call["responses"].items())
    ]
    parts.append(markdown.table(["status", "", "body"], answers))
    return [part for part in parts if part]


def _schemas(content: dict[str, Any]) -> str:
    return ", ".join(f"{kind_of(one.get('schema', {}))} ({markdown.code(kind)})" for kind, one in content.items())


def _properties(schema: dict[str, Any]) -> str:
    required = schema.get("required", [])
    rows = [
        [
            markdown.code(name),
            kind_of(field),
            "yes" if name in required else "",
            markdown.safe(field.get("description", "")),
        ]
        for name, field in schema["properties"].items()
    ]
    return markdown.table(["field", "value", "always", ""], rows)
