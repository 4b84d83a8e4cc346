"""The registered models, and who of them decides: for administrators alone."""

from __future__ import annotations

from typing import Protocol

from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import Response

from services.scorer import openapi
from services.scorer.door import Door, as_problems, json_answer
from services.scorer.keys import Scope


class Models(Protocol):
    async def listing(self) -> bytes: ...
    async def promote(self, version: str, by: str, expected: str | None) -> bytes: ...
    async def rollback(self, by: str, expected: str | None) -> bytes: ...


def add(app: FastAPI, door: Door, models: Models) -> None:
    @app.get("/v1/models", **openapi.MODELS)
    async def listing(request: Request) -> Response:
        door.admit(request, Scope.ADMIN)
        with as_problems():
            return json_answer(await models.listing())

    @app.post("/v1/models/{version}/promote", **openapi.PROMOTE)
    async def promote(version: str, request: Request) -> Response:
        caller = door.admit(request, Scope.ADMIN)
        with as_problems():
            return json_answer(await models.promote(version, caller.name, _expected(request)))

    @app.post("/v1/models/rollback", **openapi.ROLLBACK)
    async def rollback(request: Request) -> Response:
        caller = door.admit(request, Scope.ADMIN)
        with as_problems():
            return json_answer(await models.rollback(caller.name, _expected(request)))


def _expected(request: Request) -> str | None:
    """The version that has to be in service."""
    told = request.headers.get("if-match")
    return None if told is None else told.strip('"')
