"""The API's description: schemas from the contract's own types, so that the two can't disagree."""

from __future__ import annotations

from typing import Any

import msgspec
from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from services.scorer.problems import MEDIA_TYPE, REASONS
from shared.contracts.events import Decision, Transaction
from shared.contracts.rejections import RejectionReason

_OPTIONAL_ON_INPUT = ("event_id", "source")
"""Required in a Transaction on the topic, filled in where a caller leaves them out."""

_KEYED: list[dict[str, list[str]]] = [{"key": []}]


def _reference(name: str) -> dict[str, Any]:
    return {"$ref": f"#/components/schemas/{name}"}


def _problem(about: str) -> dict[str, Any]:
    return {"description": about, "content": {MEDIA_TYPE: {"schema": _reference("Problem")}}}


_DECISION = {"description": "The decision", "content": {"application/json": {"schema": _reference("Decision")}}}
_TEXT = {"description": "In a few words", "content": {"text/plain": {"schema": {"type": "string"}}}}

DECIDE: dict[str, Any] = {
    "summary": "Decide a purchase",
    "description": "One event has one decision: asking again with the same body gives the same bytes, at any time and "
    "whether it was first asked here or came over the stream. `degraded` says why a fallback decided.",
    "responses": {
        200: _DECISION,
        400: _problem("Not JSON as the contract wants it"),
        401: _problem("No known key"),
        403: _problem("A key for something else, or no key from another machine"),
        408: _problem("The request took too long to arrive"),
        409: _problem("The first request with this Idempotency-Key is still being answered"),
        413: _problem("Body too large, as sent or unpacked"),
        415: _problem("Unknown content type or encoding"),
        422: _problem("A field breaks a rule, or the event or key was used with another body"),
        429: _problem("More requests than this caller may make; again after Retry-After seconds"),
        431: _problem("Address and headers too large"),
        503: _problem("Asking again after Retry-After seconds is safe"),
    },
    "openapi_extra": {
        "security": _KEYED,
        "parameters": [
            {"name": "Idempotency-Key", "in": "header", "schema": {"type": "string", "maxLength": 128}},
            {"name": "Schema-Version", "in": "header", "schema": {"type": "string", "enum": ["1"]}},
            {"name": "traceparent", "in": "header", "schema": {"type": "string"}},
        ],
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": _reference("TransactionRequest")}},
        },
    },
}
FIND: dict[str, Any] = {
    "summary": "The decision of an event",
    "responses": {
        200: _DECISION,
        400: _problem("Query parameters, of which there are none"),
        401: _problem("No known key"),
        403: _problem("A key for something else, or no key from another machine"),
        404: _problem("No decision under this id (yet)"),
        422: _problem("What no event id can look like"),
        429: _problem("More requests than this caller may make"),
        431: _problem("Address and headers too large"),
        503: _problem("Can't be looked up right now"),
    },
    "openapi_extra": {"security": _KEYED},
}
LIVE: dict[str, Any] = {"summary": "Whether the process runs", "responses": {200: _TEXT}}
READY: dict[str, Any] = {"summary": "Whether it should get requests", "responses": {200: _TEXT, 503: _TEXT}}


def install(app: FastAPI) -> None:
    """Give the app an OpenAPI 3.1 document that holds the contract's types."""

    def document() -> dict[str, Any]:
        if app.openapi_schema is None:
            made = get_openapi(title=app.title, version=app.version, openapi_version="3.1.0", routes=app.routes)
            components = made.setdefault("components", {})
            components.setdefault("schemas", {}).update(_schemas())
            components["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
            app.openapi_schema = made
        return app.openapi_schema

    app.openapi = document  # type: ignore[method-assign]  # FastAPI's own way of replacing it


def _schemas() -> dict[str, Any]:
    _, components = msgspec.json.schema_components([Decision, Transaction], ref_template="#/components/schemas/{name}")
    schemas: dict[str, Any] = dict(components)
    request = dict(schemas.pop("Transaction"))
    request["required"] = [name for name in request["required"] if name not in _OPTIONAL_ON_INPUT]
    schemas["TransactionRequest"] = request
    reasons = sorted({reason.value for reason in RejectionReason} | REASONS.keys())
    texts = {name: {"type": "string"} for name in ("type", "title", "detail", "field", "expected")}
    schemas["Problem"] = {
        "type": "object",
        "properties": texts | {"status": {"type": "integer"}, "reason": {"type": "string", "enum": reasons}},
        "required": ["type", "title", "status", "detail", "reason", "field", "expected"],
    }
    return schemas
