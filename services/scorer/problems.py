"""Refusals over REST: RFC 9457 problem details, all of one shape.

Problem
    .status    HTTP status
    .reason    stable code: one of the input rules' codes, or one of `REASONS`
    .field     what of the request is meant, '' for the whole
    .expected  what would have been accepted
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
import structlog
from starlette.requests import Request
from starlette.responses import Response

from services.scorer.metrics import ANSWERS
from shared.contracts.headers import TRACEPARENT, TRACEPARENT_HEADER
from shared.contracts.rejections import Rejection

log = structlog.get_logger()

MEDIA_TYPE = "application/problem+json"

PRIVATE = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}
"""On every answer about a purchase: for the caller alone, and no page, whatever text is in it."""

REASONS = {
    "unauthorized": "A key is needed",
    "forbidden": "Not allowed",
    "scope": "This key is for something else",
    "not-found": "Nothing there",
    "method": "Method not allowed",
    "media-type": "Content type not supported",
    "encoding": "Content encoding not supported",
    "query": "Query parameters not supported",
    "in-flight": "The first request with this key is still being answered",
    "pending": "The purchase is still being decided",
    "rate": "More requests than allowed",
    "overloaded": "Too many requests at once",
    "kafka-unavailable": "Purchases can't be recorded right now",
    "limit-reached": "The limit has no room for it any more",
    "state-unavailable": "What is known can't be looked up right now",
    "rebuilding": "What is known of the customer is being made anew",
    "model-unavailable": "The model can't be loaded right now",
    "model-refused": "The model can't be put in service",
    "not-followed": "It is done, and this process doesn't follow yet",
    "switched": "Another model is in service than was expected",
    "registry-unavailable": "The registry can't be changed from here",
    "deadline": "Not answered in time",
    "disconnected": "The request ended early",
    "http": "Not a request",
    "head": "Address and headers too large",
    "slow": "The request took too long to arrive",
    "internal": "An error of ours",
}
"""Reasons beside those of the input rules, with their titles."""


_OF_STRANGERS = frozenset({401, 403, 429})
"""Statuses of those who have no key, or ask too often."""


class Problem(Exception):
    """A refusal with its status; raised anywhere below a route, answered by `answer`."""

    def __init__(
        self,
        status: int,
        reason: str,
        detail: str,
        *,
        field: str = "",
        expected: str = "",
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.reason = reason
        self.detail = detail
        self.field = field
        self.expected = expected
        self.headers = dict(headers or {})

    @staticmethod
    def of(rejection: Rejection) -> Problem:
        return Problem(
            rejection.status,
            rejection.reason.value,
            str(rejection),
            field=rejection.field,
            expected=rejection.expected,
        )

    @staticmethod
    def later(status: int, reason: str, detail: str, seconds: int) -> Problem:
        """Asking again after so many seconds is safe."""
        return Problem(status, reason, detail, headers={"Retry-After": str(seconds)})


class _Body(msgspec.Struct):
    type: str
    title: str
    status: int
    detail: str
    reason: str
    field: str
    expected: str


def body_of(problem: Problem) -> bytes:
    """The problem details; counted as an answer."""
    ANSWERS.labels(str(problem.status), problem.reason).inc()
    title = REASONS.get(problem.reason, "The purchase was refused")
    body = _Body(
        f"urn:flit-risk:problem:{problem.reason}",
        title,
        problem.status,
        problem.detail,
        problem.reason,
        problem.field,
        problem.expected,
    )
    return msgspec.json.encode(body)


def answer(problem: Problem) -> Response:
    return Response(
        body_of(problem),
        status_code=problem.status,
        headers=PRIVATE | problem.headers,
        media_type=MEDIA_TYPE,
    )


async def problem_handler(request: Request, error: Exception) -> Response:
    assert isinstance(error, Problem)
    trace = trace_id(request)
    # A line for each request of a stranger would be his to write.
    if trace is not None and error.status not in _OF_STRANGERS:
        log.info("problem_answered", status=error.status, reason=error.reason, trace_id=trace)
    return answer(error)


def traceparent(request: Request) -> str | None:
    """The trace that a request belongs to, as W3C has it; None for none, or for what isn't one."""
    trace = request.headers.get(TRACEPARENT_HEADER)
    return trace if trace is not None and TRACEPARENT.fullmatch(trace) else None


def trace_id(request: Request) -> str | None:
    """Its id, for the log: a caller tells it, and gets no other word of ours to tell."""
    trace = traceparent(request)
    return None if trace is None else trace.split("-")[1]
