"""The REST door, put together: the routes of `services.scorer.routes`, and what they answer where none of them fits."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import structlog
from fastapi import FastAPI
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from services.scorer import openapi
from services.scorer.door import Door
from services.scorer.problems import Problem, answer, problem_handler, trace_id
from services.scorer.routes import customers, decisions, explanation, health, models, updates
from services.scorer.routes.customers import Customers
from services.scorer.routes.decisions import Batches, Decisions
from services.scorer.routes.explanation import Explanations
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
    app = FastAPI(title="Flit Risk", version="1", openapi_url="/openapi.json", docs_url=None, redoc_url=None)
    app.add_exception_handler(Problem, problem_handler)
    app.add_exception_handler(HTTPException, _framework_refusal)
    app.add_exception_handler(Exception, _our_fault)
    openapi.install(app)
    decisions.add(app, door, use_cases.decisions, use_cases.batches, limits.transaction, limits.batch)
    explanation.add(app, door, use_cases.explanations)
    updates.add(app, door, use_cases.updates)
    customers.add(app, door, use_cases.customers)
    models.add(app, door, use_cases.models)
    health.add(app, ready)
    return app


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
    return str(getattr(request.scope.get("route"), "path", "none"))
