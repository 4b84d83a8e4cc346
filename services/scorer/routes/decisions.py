"""A purchase, or many, to their decisions; and a decision that was made."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Protocol

from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import Response

from services.scorer import openapi
from services.scorer.checkout import Question
from services.scorer.door import Door, as_problems, counted, json_answer
from services.scorer.keys import Caller, Scope
from services.scorer.problems import Problem
from shared.contracts.transactions import check_id

DECIDE_PATH = "/v1/decisions"


class Decisions(Protocol):
    """The use case behind single purchases."""

    async def decide(self, question: Question) -> bytes: ...
    async def find(self, event_id: str, asked_by: str | None) -> bytes | None: ...


class Batches(Protocol):
    """The use case behind many at once."""

    def split(self, body: bytes) -> list[bytes]: ...
    async def decide(self, question: Question, purchases: list[bytes]) -> bytes: ...


def add(
    app: FastAPI, door: Door, decisions: Decisions, batches: Batches, max_body_bytes: int, max_batch_bytes: int
) -> Callable[[Request], Awaitable[Response]]:
    """The routes; what answers `POST DECIDE_PATH`."""

    @app.post(DECIDE_PATH, **openapi.DECIDE)
    async def decide(request: Request) -> Response:
        with counted(), as_problems():
            caller = door.admit(request, Scope.DECIDE)
            deadline_s = door.deadline_s(request)
            question = door.question(request, caller, await door.body(request, caller, max_body_bytes))
            return json_answer(await door.in_time(request, deadline_s, lambda: decisions.decide(question)))

    @app.post("/v1/decisions/batch", **openapi.DECIDE_BATCH)
    async def decide_batch(request: Request) -> Response:
        with counted(one_by_one=True), as_problems():
            caller = door.admit(request, Scope.DECIDE)
            question = door.question(request, caller, await door.body(request, caller, max_batch_bytes))
            purchases = batches.split(question.body)
            door.charge(caller, len(purchases) - 1, charged=1)
            with door.place(request):
                return json_answer(await batches.decide(question, purchases))

    @app.get("/v1/decisions/{event_id:id}", **openapi.FIND)
    async def find(event_id: str, request: Request) -> Response:
        caller = door.admit(request, Scope.READ, Scope.DECIDE)
        with as_problems():
            check_id(event_id, "event_id")
            found = await decisions.find(event_id, own_only(caller))
        if found is None:
            raise no_decision()
        return json_answer(found)

    return decide


def own_only(caller: Caller) -> str | None:
    """Whose decisions alone the caller may see; None: everybody's."""
    return None if Scope.READ in caller.scopes else caller.name


def no_decision() -> Problem:
    return Problem(404, "not-found", "this event has no decision", field="event_id")
