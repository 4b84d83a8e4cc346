"""The REST door, put together: the routes of `services.scorer.routes`, and what they answer where none of them fits."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import structlog
from fastapi import FastAPI
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from services.scorer import openapi
from services.scorer.door import Door
from services.scorer.problems import Problem, answer, problem_handler, trace_id
from services.scorer.quick_request import QuickRequest
from services.scorer.routes import customers, decisions, explanation, health, models, updates
from services.scorer.routes.customers import Customers
from services.scorer.routes.decisions import DECIDE_PATH, Batches, Decisions
from services.scorer.routes.explanation import Explanations
from services.scorer.routes.ids import keep_slashes
from services.scorer.routes.models import Models
from services.scorer.routes.updates import Updates

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class UseCases:
    """What lies behind the routes."""

    decisions: Decisions
    batches: Batches
    explanations: Explanations
    updates: Updates
    customers: Customers
    models: Models


@dataclass(frozen=True, slots=True)
class BodyLimits:
    """In bytes, as sent and unpacked."""

    transaction: int
    batch: int


def build_app(use_cases: UseCases, door: Door, ready: Callable[[], str | None], limits: BodyLimits) -> FastAPI:
    """The REST door. `ready`: None, or why this process should get no requests."""
    app = _App(title="Flit Risk", version="1", openapi_url="/openapi.json", docs_url=None, redoc_url=None)
    app.add_exception_handler(Problem, problem_handler)
    app.add_exception_handler(HTTPException, _framework_refusal)
    app.add_exception_handler(Exception, _our_fault)
    openapi.install(app)
    app.shorten(decisions.add(app, door, use_cases.decisions, use_cases.batches, limits.transaction, limits.batch))
    explanation.add(app, door, use_cases.explanations)
    updates.add(app, door, use_cases.updates)
    customers.add(app, door, use_cases.customers)
    models.add(app, door, use_cases.models)
    health.add(app, ready)
    return app


class _App(FastAPI):
    """Most calls are the same one, and between it and its route FastAPI does for a tenth of its time what is of no use
    to it: it looks for the route, for parameters and for dependencies, and has two middlewares wait for errors. So that
    one goes straight there. It stays a route like the others, for the description and for other methods."""

    _straight: ASGIApp | None = None

    def shorten(self, decide: Callable[[Request], Awaitable[Response]]) -> None:
        """`decide`: what answers `POST DECIDE_PATH`."""
        (route,) = (route for route in self.routes if getattr(route, "path", None) == DECIDE_PATH)

        async def straight(scope: Scope, receive: Receive, send: Send) -> None:
            scope["route"] = route  # spans and logs name it
            request = QuickRequest(scope, receive, send)
            try:
                response = await decide(request)
            except Problem as problem:
                response = await problem_handler(request, problem)
            except Exception as error:
                await (await _our_fault(request, error))(scope, receive, send)
                raise  # to the server's own log, as through the framework
            await response(scope, receive, send)

        self._straight = straight

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if (
            self._straight is not None
            and scope["type"] == "http"
            and scope["path"] == DECIDE_PATH
            and scope["method"] == "POST"
        ):
            await self._straight(scope, receive, send)
        else:
            keep_slashes(scope)
            await super().__call__(scope, receive, send)


async def _framework_refusal(_: Request, error: Exception) -> Response:
    """What the framework refuses before a route is reached."""
    assert isinstance(error, HTTPException)
    reason = {404: "not-found", 405: "method"}.get(error.status_code, "query")
    return answer(Problem(error.status_code, reason, str(error.detail), headers=error.headers))


async def _our_fault(request: Request, error: Exception) -> Response:
    # The route, not the path: that may hold whatever the caller wrote into it.
    log.error(
        "request_failed", path=_route(request), error=type(error).__name__, trace_id=trace_id(request), exc_info=error
    )
    return answer(Problem(500, "internal", "the request could not be answered"))


def _route(request: Request) -> str:
    return str(getattr(request.scope.get("route"), "path_format", "none"))
