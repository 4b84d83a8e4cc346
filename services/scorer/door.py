"""What every route asks at the entrance: who asks, with how large a body, and how a refusal reads."""

from __future__ import annotations

import math
import re
import time
from collections import Counter
from collections.abc import Collection, Iterator
from contextlib import contextmanager

from starlette.requests import Request
from starlette.responses import Response

from services.scorer.admission import Admission, Overloaded
from services.scorer.body import read_body
from services.scorer.checkout import Question, Unavailable
from services.scorer.idempotency import HEADER, InFlight, check_key
from services.scorer.keys import Access, Caller, Scope
from services.scorer.metrics import ANSWERS
from services.scorer.problems import PRIVATE, Problem
from services.scorer.rate import Rate, TokenBuckets
from shared.contracts.rejections import Rejection

RETRY_AFTER_S = 1
_TRACEPARENT = re.compile(r"00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")
_JSON = "application/json"
_ONCE = (b"host", b"authorization", b"content-type", b"schema-version", b"if-match", HEADER.lower().encode())
"""Headers that say who asks, and how a body is meant. Of two, something in front of us may have read the other."""


class Door:
    """Of one process, for all of its routes."""

    def __init__(
        self, access: Access, admission: Admission, rate: Rate, *, read_seconds: float, max_arriving: int
    ) -> None:
        """`rate`: of each caller. `read_seconds`: for a body to arrive; `max_arriving`: bodies of each caller on their
        way at once."""
        self._access = access
        self._admission = admission
        self._rate = rate
        self._read_seconds = read_seconds
        self._max_arriving = max_arriving
        self._arriving: Counter[str] = Counter()
        self._buckets = TokenBuckets()

    def admit(self, request: Request, *scopes: Scope) -> Caller:
        """Who asks, if he may. Before anything of the body is read. Raises Problem."""
        caller = _admit(request, self._access, scopes)
        self.charge(caller, 1)
        return caller

    def charge(self, caller: Caller, requests: int) -> None:
        """Count so many requests against the caller's rate. Raises Problem (429)."""
        wait_s = self._buckets.take(caller.name, caller.rate or self._rate, requests)
        if wait_s:
            raise Problem.later(429, "rate", "more requests than this caller may make", math.ceil(wait_s))

    async def body(self, request: Request, caller: Caller, max_bytes: int) -> bytes:
        """The request's body. Raises Problem and, where there would be no place for it, Overloaded.

        A body on its way takes no place: a caller's slow line would keep all others out. It costs memory, though.
        """
        self._admission.check()
        if self._arriving[caller.name] >= self._max_arriving:
            raise Overloaded
        self._arriving[caller.name] += 1
        try:
            return await read_body(request, max_bytes, self._read_seconds)
        finally:
            self._arriving[caller.name] -= 1

    async def body_or_nothing(self, request: Request, caller: Caller, max_bytes: int) -> bytes:
        """The same, where a call makes sense without one."""
        headers = request.headers
        if headers.get("content-length", "0") == "0" and "transfer-encoding" not in headers:
            return b""
        return await self.body(request, caller, max_bytes)

    @contextmanager
    def place(self, request: Request) -> Iterator[None]:
        """One of the places of those that are in work. Raises Overloaded."""
        # When the whole request was there: it has waited for its turn since (see `BoundedHttp`).
        arrived_s: float | None = getattr(request.state, "arrived_s", None)
        with self._admission.place(time.monotonic() if arrived_s is None else arrived_s):
            yield

    def question(self, request: Request, caller: Caller, body: bytes) -> Question:
        """A purchase to decide on. Raises `Rejection` for a key that is none."""
        trace = request.headers.get("traceparent")
        return Question(
            body=body,
            caller=caller.name,
            sees_all=Scope.READ in caller.scopes,
            idempotency_key=idempotency_key(request),
            schema_version=request.headers.get("schema-version"),
            traceparent=trace if trace is not None and _TRACEPARENT.fullmatch(trace) else None,
        )


def idempotency_key(request: Request) -> str | None:
    """Raises `Rejection` for one that is none."""
    key = request.headers.get(HEADER)
    return None if key is None else check_key(key)


@contextmanager
def as_problems() -> Iterator[None]:
    """Whatever a use case raises, as the Problem that the caller gets."""
    try:
        yield
    except (Rejection, Overloaded, InFlight, Unavailable) as error:
        raise problem_of(error) from None


def problem_of(error: Rejection | Overloaded | InFlight | Unavailable) -> Problem:
    if isinstance(error, Rejection):
        return Problem.of(error)
    if isinstance(error, Overloaded):
        return overloaded()
    if isinstance(error, InFlight):
        return Problem.later(409, "in-flight", "this key's first request is not answered yet", RETRY_AFTER_S)
    return Problem.later(503, error.reason, str(error), error.retry_after_s)


def overloaded() -> Problem:
    return Problem.later(503, "overloaded", "too many requests at once", RETRY_AFTER_S)


def json_answer(body: bytes, status: int = 200) -> Response:
    """The bytes as they are: parsing and writing a decision again could change it."""
    ANSWERS.labels(str(status), "").inc()
    return Response(body, status_code=status, media_type=_JSON, headers=PRIVATE)


def _admit(request: Request, access: Access, scopes: Collection[Scope]) -> Caller:
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
