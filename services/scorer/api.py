"""The routes: thin, from a request to the use case and back to bytes."""

from __future__ import annotations

import math
import re
import time
from collections import Counter
from collections.abc import Callable, Collection
from typing import Protocol

import structlog
from fastapi import FastAPI
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from services.scorer import openapi
from services.scorer.admission import Admission, Overloaded
from services.scorer.body import read_body
from services.scorer.checkout import Question, Unavailable
from services.scorer.docs_page import docs_page
from services.scorer.idempotency import HEADER, InFlight, check_key
from services.scorer.keys import Access, Caller, Scope
from services.scorer.metrics import ANSWERS
from services.scorer.problems import PRIVATE, Problem, answer, problem_handler
from services.scorer.rate import Rate, TokenBuckets
from shared.contracts.rejections import Rejection
from shared.contracts.transactions import check_id

log = structlog.get_logger()

RETRY_AFTER_S = 1
_TRACEPARENT = re.compile(r"00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")
_JSON = "application/json"
_ONCE = (b"host", b"authorization", b"content-type", b"schema-version", HEADER.lower().encode())
"""Headers that say who asks, and how a body is meant. Of two, something in front of us may have read the other."""


class Decisions(Protocol):
    """The use case behind the routes."""

    async def decide(self, question: Question) -> bytes: ...
    async def find(self, event_id: str, asked_by: str | None) -> bytes | None: ...


def build_app(
    decisions: Decisions,
    access: Access,
    ready: Callable[[], str | None],
    *,
    max_body_bytes: int,
    read_seconds: float,
    max_arriving: int,
    admission: Admission,
    rate: Rate,
) -> FastAPI:
    """The REST door. `ready`: None, or why this process should get no requests. `rate`: of each caller.
    `read_seconds`: for a body to arrive; `max_arriving`: bodies of each caller on their way at once.
    """
    app = FastAPI(title="Flit Risk", version="1", openapi_url="/openapi.json", docs_url=None, redoc_url=None)
    app.add_exception_handler(Problem, problem_handler)
    app.add_exception_handler(HTTPException, _framework_refusal)
    app.add_exception_handler(Exception, _our_fault)
    openapi.install(app)
    arriving: Counter[str] = Counter()
    buckets = TokenBuckets()

    def admit(request: Request, *scopes: Scope) -> Caller:
        caller = _admit(request, access, scopes)
        wait_s = buckets.take(caller.name, caller.rate or rate)
        if wait_s:
            raise Problem.later(429, "rate", "more requests than this caller may make", math.ceil(wait_s))
        return caller

    @app.post("/v1/decisions", **openapi.DECIDE)
    async def decide(request: Request) -> Response:
        caller = admit(request, Scope.DECIDE)
        try:
            # A body on its way takes no place: a caller's slow line would keep all others out. It costs memory, though.
            admission.check()
            if arriving[caller.name] >= max_arriving:
                raise Overloaded
            arriving[caller.name] += 1
            try:
                question = await _question(request, caller, max_body_bytes, read_seconds)
            finally:
                arriving[caller.name] -= 1
            with admission.place(_arrived_s(request)):
                return _decision(await decisions.decide(question))
        except Rejection as rejection:
            raise Problem.of(rejection) from None
        except Overloaded:
            raise Problem.later(503, "overloaded", "too many requests at once", RETRY_AFTER_S) from None
        except InFlight:
            raise Problem.later(
                409, "in-flight", "this key's first request is not answered yet", RETRY_AFTER_S
            ) from None
        except Unavailable as error:
            raise Problem.later(503, error.reason, str(error), error.retry_after_s) from None

    @app.get("/v1/decisions/{event_id}", **openapi.FIND)
    async def find(event_id: str, request: Request) -> Response:
        caller = admit(request, Scope.READ, Scope.DECIDE)
        try:
            check_id(event_id, "event_id")
            found = await decisions.find(event_id, None if Scope.READ in caller.scopes else caller.name)
        except Rejection as rejection:
            raise Problem.of(rejection) from None
        except Unavailable as error:
            raise Problem.later(503, error.reason, str(error), error.retry_after_s) from None
        if found is None:
            raise Problem(404, "not-found", "this event has no decision", field="event_id")
        return _decision(found)

    @app.get("/live", **openapi.LIVE)
    async def live() -> Response:
        return Response("alive\n", media_type="text/plain")

    @app.get("/ready", **openapi.READY)
    async def is_ready() -> Response:
        reason = ready()
        if reason is None:
            return Response("ready\n", media_type="text/plain")
        return Response(f"{reason}\n", status_code=503, media_type="text/plain")

    @app.get("/docs", include_in_schema=False)
    async def docs() -> Response:
        return docs_page(app.openapi())

    return app


def _admit(request: Request, access: Access, scopes: Collection[Scope]) -> Caller:
    """Who asks. Before anything of the body is read."""
    sent = [name for name, _ in request.headers.raw]
    for name in _ONCE:
        if sent.count(name) > 1:
            field = name.decode().title()
            raise Problem(400, "duplicate-key", f"{field} was sent more than once", field=field, expected="one value")
    client = request.client.host if request.client else None
    caller = access.caller(request.headers.get("authorization"), client, scopes, host=request.headers.get("host"))
    if request.scope["query_string"]:
        raise Problem(400, "query", "this address takes no query parameters", expected="no query parameters")
    return caller


def _arrived_s(request: Request) -> float:
    """When the whole request was there: for the time that it then waited for its turn, see `BoundedHttp`."""
    arrived: float = getattr(request.state, "arrived_s", None) or time.monotonic()
    return arrived


async def _question(request: Request, caller: Caller, max_body_bytes: int, read_seconds: float) -> Question:
    key = request.headers.get(HEADER)
    trace = request.headers.get("traceparent")
    return Question(
        body=await read_body(request, max_body_bytes, read_seconds),
        caller=caller.name,
        sees_all=Scope.READ in caller.scopes,
        idempotency_key=None if key is None else check_key(key),
        schema_version=request.headers.get("schema-version"),
        traceparent=trace if trace is not None and _TRACEPARENT.fullmatch(trace) else None,
    )


def _decision(body: bytes) -> Response:
    """The decision's own bytes: parsing and writing them again could change them."""
    ANSWERS.labels("200", "").inc()
    return Response(body, media_type=_JSON, headers=PRIVATE)


async def _framework_refusal(_: Request, error: Exception) -> Response:
    """What the framework refuses before a route is reached."""
    assert isinstance(error, HTTPException)
    reason = {404: "not-found", 405: "method"}.get(error.status_code, "query")
    return answer(Problem(error.status_code, reason, str(error.detail), headers=error.headers))


async def _our_fault(request: Request, error: Exception) -> Response:
    # The route, not the path: that may hold whatever the caller wrote into it.
    log.error("request_failed", path=_route(request), error=type(error).__name__, exc_info=error)
    return answer(Problem(500, "internal", "the request could not be answered"))


def _route(request: Request) -> str:
    return str(getattr(request.scope.get("route"), "path", "none"))
