"""The API's description: schemas from the contract's own types, so that the two can't disagree."""

from __future__ import annotations

from typing import Any

import msgspec
from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from services.scorer.customers import CustomerFeatures
from services.scorer.explanation import Explanation
from services.scorer.problems import MEDIA_TYPE, REASONS
from services.scorer.updates import MAX_NOTE_LENGTH, VerdictTaken
from shared.contracts.events import Decision, DecisionUpdate, Transaction
from shared.contracts.rejections import RejectionReason
from shared.model_artifact.registry import Pointer

_OPTIONAL_ON_INPUT = ("event_id", "source")
"""Required in a Transaction on the topic, filled in where a caller leaves them out."""

_KEYED: list[dict[str, list[str]]] = [{"key": []}]


def _reference(name: str) -> dict[str, Any]:
    return {"$ref": f"#/components/schemas/{name}"}


def _problem(about: str) -> dict[str, Any]:
    return {"description": about, "content": {MEDIA_TYPE: {"schema": _reference("Problem")}}}


def _answer(about: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"description": about, "content": {"application/json": {"schema": schema}}}


_DECISION = _answer("The decision", _reference("Decision"))
_TEXT = {"description": "In a few words", "content": {"text/plain": {"schema": {"type": "string"}}}}

_ASKED: dict[int, Any] = {
    400: _problem("Query parameters, of which there are none, a header that was sent twice, or no HTTP"),
    401: _problem("No known key"),
    403: _problem("A key for something else, or no key from another machine"),
    429: _problem("More requests than this caller may make; again after Retry-After seconds"),
    431: _problem("Address and headers too large"),
    503: _problem("Asking again after Retry-After seconds is safe"),
}
"""What any call may be answered."""

_SENT: dict[int, Any] = {
    400: _problem("Not JSON as the contract wants it"),
    408: _problem("The request took too long to arrive"),
    409: _problem("The first request with this Idempotency-Key is still being answered"),
    413: _problem("Body too large, as sent or unpacked"),
    415: _problem("Unknown content type or encoding"),
}
"""And one with a body."""

_OF_EVENT: dict[int, Any] = {
    404: _problem("No decision under this id (yet)"),
    422: _problem("What no event id can look like"),
}

_KEY_HEADER = {"name": "Idempotency-Key", "in": "header", "schema": {"type": "string", "maxLength": 128}}
_HEADERS = [
    _KEY_HEADER,
    {"name": "Deadline-Ms", "in": "header", "schema": {"type": "integer", "minimum": 1, "maximum": 60000}},
    {"name": "Schema-Version", "in": "header", "schema": {"type": "string", "enum": ["1"]}},
    {"name": "traceparent", "in": "header", "schema": {"type": "string"}},
]


def _takes(schema: dict[str, Any], *, example: Any, required: bool = True) -> dict[str, Any]:
    content = {"application/json": {"schema": schema, "example": example}}
    return {"required": required, "content": content}


_PURCHASE: dict[str, Any] = {
    "transaction_id": "txn_00000042",
    "customer_id": "cust_000001",
    "occurred_at": "2026-06-01T09:00:00Z",
    "amount": 67.51,
    "currency": "USD",
    "installments": {"count": 4, "first_payment_amount": 16.88, "frequency": "bi_weekly"},
    "customer": {"tenure_days": 384, "credit_score_range": "fair", "verification_level": "verified"},
    "device": {"id": "device_1", "type": "mobile", "is_trusted": True},
}

DECIDE: dict[str, Any] = {
    "summary": "Decide a purchase",
    "description": "One event has one decision: asking again with the same body gives the same bytes, at any time and "
    "whether it was first asked here or came over the stream. `degraded` says why a fallback decided; `rebuilding` and "
    "`state_unavailable`, where `as_of` is -1 of both topics, mark a provisional answer, which stands on no topic: "
    "asked again later, the event has its decision.",
    "responses": {
        200: _DECISION,
        **_ASKED,
        **_SENT,
        422: _problem("A field breaks a rule, or the event or key was used with another body"),
    },
    "openapi_extra": {
        "security": _KEYED,
        "parameters": _HEADERS,
        "requestBody": _takes(_reference("TransactionRequest"), example=_PURCHASE),
    },
}
DECIDE_BATCH: dict[str, Any] = {
    "summary": "Decide up to 1,000 purchases",
    "description": "Each is decided as it would be alone. The answers stand in the order of the purchases: a decision, "
    "or the problem that the purchase alone would have been answered with.",
    "responses": {
        200: _answer(
            "Decisions and problems",
            {"type": "array", "items": {"anyOf": [_reference("Decision"), _reference("Problem")]}},
        ),
        **_ASKED,
        **_SENT,
        422: _problem("No array of 1 to 1,000, or the key was used with another body"),
    },
    "openapi_extra": {
        "security": _KEYED,
        "parameters": [_KEY_HEADER, *_HEADERS[2:]],
        "requestBody": _takes(
            {"type": "array", "items": _reference("TransactionRequest"), "minItems": 1, "maxItems": 1000},
            example=[_PURCHASE],
        ),
    },
}
FIND: dict[str, Any] = {
    "summary": "The decision of an event",
    "responses": {200: _DECISION, **_ASKED, **_OF_EVENT},
    "openapi_extra": {"security": _KEYED},
}
EXPLAIN: dict[str, Any] = {
    "summary": "What each feature added to the risk",
    "description": "In log-odds: the sigmoid of `base_value` plus all contributions is `raw_probability`, and the "
    "calibration makes `probability_of_default` of it. For a declined purchase with what a notice has to tell.",
    "responses": {200: _answer("The explanation", _reference("Explanation")), **_ASKED, **_OF_EVENT},
    "openapi_extra": {"security": _KEYED},
}
_TAKEN = _answer("Recorded on decision-updates", _reference("DecisionUpdate"))
_VERDICT_TAKEN = _answer("Recorded on decision-updates", _reference("VerdictTaken"))
CANCEL: dict[str, Any] = {
    "summary": "The purchase was called off",
    "description": "What it would have added to the customer's exposure is free again.",
    "responses": {202: _TAKEN, **_ASKED, **_SENT, **_OF_EVENT},
    "openapi_extra": {
        "security": _KEYED,
        "parameters": [_KEY_HEADER],
        "requestBody": _takes(_reference("Cancellation"), example={"note": "the basket was emptied"}, required=False),
    },
}
VERDICT: dict[str, Any] = {
    "summary": "A reviewer's verdict",
    "description": "Answered with what a notice has to tell, where it is a decline. With `If-None-Match: *` only where "
    "nobody has given another one in this way (422 `conflict`), whoever it was; the same one sent again is the same.",
    "responses": {202: _VERDICT_TAKEN, **_ASKED, **_SENT, **_OF_EVENT},
    "openapi_extra": {
        "security": _KEYED,
        "parameters": [
            _KEY_HEADER,
            {"name": "If-None-Match", "in": "header", "schema": {"type": "string", "enum": ["*"]}},
        ],
        "requestBody": _takes(_reference("ReviewVerdict"), example={"verdict": "approve", "note": "known customer"}),
    },
}
CUSTOMER: dict[str, Any] = {
    "summary": "A customer's rolling features as of now",
    "responses": {
        200: _answer("The features", _reference("CustomerFeatures")),
        **_ASKED,
        404: _problem("No purchase of this customer is known"),
        422: _problem("What no customer's id can look like"),
    },
    "openapi_extra": {"security": _KEYED},
}
_POINTERS = _answer("Who is in service now, and who was before", _reference("Pointers"))
_SWITCH: dict[int, Any] = {
    404: _problem("No such version"),
    409: _problem("The model can't be trusted or used, or another one is in service than was expected"),
    422: _problem("What no version can look like"),
}
MODELS: dict[str, Any] = {
    "summary": "The registered models",
    "responses": {200: _answer("The latest, and those that have a part", {"type": "object"}), **_ASKED},
    "openapi_extra": {"security": _KEYED},
}
_IF_MATCH = {"name": "If-Match", "in": "header", "schema": {"type": "string"}}
PROMOTE: dict[str, Any] = {
    "summary": "Put a model in service",
    "description": "With `If-Match`, only where that version is in service now. No request in work is dropped, and "
    "every decision names the version that made it.",
    "responses": {200: _POINTERS, **_ASKED, **_SWITCH},
    "openapi_extra": {
        "security": _KEYED,
        "parameters": [_IF_MATCH],
    },
}
ROLLBACK: dict[str, Any] = {
    "summary": "Put the model before back in service",
    "description": "With `If-Match`, only where that version, which is to go, is in service now: going back twice "
    "would put back what was to go.",
    "responses": {200: _POINTERS, **_ASKED, **_SWITCH},
    "openapi_extra": {"security": _KEYED, "parameters": [_IF_MATCH]},
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
    kinds = [Decision, DecisionUpdate, VerdictTaken, Transaction, Explanation, CustomerFeatures, Pointer]
    _, components = msgspec.json.schema_components(kinds, ref_template="#/components/schemas/{name}")
    schemas: dict[str, Any] = dict(components)
    pointer = {"anyOf": [_reference("Pointer"), {"type": "null"}]}
    schemas["Pointers"] = {"type": "object", "properties": {"current": pointer, "previous": pointer}}
    note = {"type": "string", "maxLength": MAX_NOTE_LENGTH}
    schemas["Cancellation"] = {"type": "object", "properties": {"note": note}, "additionalProperties": False}
    schemas["ReviewVerdict"] = {
        "type": "object",
        "properties": {
            "verdict": {"type": "string", "enum": ["approve", "decline"]},
            "actor": {"type": "string", "minLength": 1, "maxLength": 128},
            "note": note,
        },
        "required": ["verdict"],
        "additionalProperties": False,
    }
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
