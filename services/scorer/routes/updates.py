"""What is said after a decision: a checkout calls the purchase off, a reviewer gives his verdict."""

from __future__ import annotations

from typing import Protocol

from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import Response

from services.scorer import openapi
from services.scorer.door import Door, acts_on_all, as_problems, idempotency_key, json_answer
from services.scorer.keys import Scope
from services.scorer.routes.decisions import no_decision
from services.scorer.updates import MAX_BODY_BYTES, Said, read_cancellation, read_verdict
from shared.contracts.transactions import check_id


class Updates(Protocol):
    async def take(self, event_id: str, said: Said, asked_by: str | None) -> bytes | None: ...


def add(app: FastAPI, door: Door, updates: Updates) -> None:
    @app.post("/v1/decisions/{event_id:id}/cancel", status_code=202, **openapi.CANCEL)
    async def cancel(event_id: str, request: Request) -> Response:
        caller = door.admit(request, Scope.DECIDE)
        with as_problems():
            check_id(event_id, "event_id")
            body = await door.body_or_nothing(request, caller, MAX_BODY_BYTES)
            said = read_cancellation(body, caller.name, idempotency_key(request))
            with door.place(request):
                taken = await updates.take(event_id, said, None if acts_on_all(caller) else caller.name)
        if taken is None:
            raise no_decision()
        return json_answer(taken, 202)

    @app.post("/v1/decisions/{event_id:id}/verdict", status_code=202, **openapi.VERDICT)
    async def verdict(event_id: str, request: Request) -> Response:
        caller = door.admit(request, Scope.REVIEW)
        with as_problems():
            check_id(event_id, "event_id")
            body = await door.body(request, caller, MAX_BODY_BYTES)
            only_first = request.headers.get("if-none-match", "").strip() == "*"
            said = read_verdict(body, caller.name, idempotency_key(request), only_first=only_first)
            with door.place(request):
                taken = await updates.take(event_id, said, None)
        if taken is None:
            raise no_decision()
        return json_answer(taken, 202)
