"""Why a purchase was decided as it was."""

from __future__ import annotations

from typing import Protocol

from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import Response

from services.scorer import openapi
from services.scorer.door import Door, as_problems, json_answer
from services.scorer.keys import Scope
from services.scorer.routes.decisions import no_decision, own_only
from shared.contracts.transactions import check_id


class Explanations(Protocol):
    async def explain(self, event_id: str, asked_by: str | None) -> bytes | None: ...


def add(app: FastAPI, door: Door, explanations: Explanations) -> None:
    @app.get("/v1/decisions/{event_id:id}/explanation", **openapi.EXPLAIN)
    async def explain(event_id: str, request: Request) -> Response:
        caller = door.admit(request, Scope.READ, Scope.DECIDE)
        with as_problems():
            check_id(event_id, "event_id")
            explained = await explanations.explain(event_id, own_only(caller))
        if explained is None:
            raise no_decision()
        return json_answer(explained)
