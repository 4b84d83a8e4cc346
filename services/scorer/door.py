"""What every route asks at the entrance: who asks, with how large a body, and how a refusal reads."""

from __future__ import annotations

import asyncio
import math
import time
from collections import Counter
from collections.abc import Callable, Collection, Coroutine, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Scope as AsgiScope

from services.scorer.admission import Admission, Overloaded
from services.scorer.body import announced_bytes, read_body
from services.scorer.checkout import Question, Unavailable
from services.scorer.idempotency import HEADER, InFlight, check_key
from services.scorer.keys import Access, Caller, Scope
from services.scorer.metrics import ANSWERS, CHECKOUTS
from services.scorer.problems import PRIVATE, Problem, traceparent
from services.scorer.rate import Rate, TokenBuckets
from shared.contracts.rejections import Rejection, RejectionReason

RETRY_AFTER_S = 1
DEADLINE_HEADER = "Deadline-Ms"
LONGEST_DEADLINE_MS = 60_000
MOST_OF_CALLER_BYTES, MOST_ARRIVING_BYTES = 33_554_432, 134_217_728
"""Of bodies that are on their way, by what they announce, else by what they may have: eight of the largest batches of a
caller, and a quarter of what the container of a scorer may hold for all of them."""
OUR_SHARE = 0.8
"""Of a deadline. The rest is for a pause of ours, in which we can't even say that it is over, and for the way back."""
_JSON = "application/json"
_ONCE = (
    b"host",
    b"authorization",
    b"content-type",
    b"schema-version",
    b"if-match",
    b"deadline-ms",
    HEADER.lower().encode(),
)
"""Headers that say who asks, and how a body is meant. Of two, something in front of us may have read the other."""


class Door:
    """Of one process, for all of its routes."""

    def __init__(
        self,
        access: Access,
        admission: Admission,
        rate: Rate,
        *,
        read_seconds: float,
        max_arriving: int,
        deadline_s: float,
    ) -> None:
        """`rate`: of each caller. `read_seconds`: for a body to arrive; `max_arriving`: bodies of each caller on their
        way at once. `deadline_s`: of a request that asks for no shorter one."""
        self._access = access
        self._admission = admission
        self._rate = rate
        self._read_seconds = read_seconds
        self._max_arriving = max_arriving
        self._deadline_s = deadline_s
        self._unfinished: set[asyncio.Future[bytes]] = set()
        self._arriving: Counter[str] = Counter()
        self._arriving_bytes: Counter[str] = Counter()
        self._buckets = TokenBuckets()

    def admit(self, request: Request, *scopes: Scope) -> Caller:
        """Who asks, if he may. Before anything of the body is read. Raises Problem."""
        caller = _admit(request, self._access, scopes)
        self.charge(caller, 1)
        return caller

    def charge(self, caller: Caller, requests: int, *, charged: int = 0) -> None:
        """Count so many requests against the caller's rate, beside those that were `charged` for the same call before.
        Raises Problem (429)."""
        rate = caller.rate or self._rate
        # Of an owner's keys those with another rate have a bucket of their own: one would drain or fill the other's.
        wait_s = self._buckets.take((caller.name, rate), rate, requests, taken=charged)
        if wait_s:
            raise Problem.later(429, "rate", "more requests than this caller may make", math.ceil(wait_s))

    async def body(self, request: Request, caller: Caller, max_bytes: int) -> bytes:
        """The request's body. Raises Problem and, where there would be no place for it, Overloaded.

        A body on its way takes no place: a caller's slow line would keep all others out. It costs memory, though.
        """
        self._admission.check(arrived_s(request.scope))
        name, expected = caller.name, min(announced_bytes(request) or max_bytes, max_bytes)
        if self._arriving[name] >= self._max_arriving or not self._has_room(name, expected):
            raise Overloaded
        self._arriving[name] += 1
        self._arriving_bytes[name] += expected
        try:
            return await read_body(request, max_bytes, self._read_seconds)
        finally:
            self._arriving[name] -= 1
            self._arriving_bytes[name] -= expected

    def _has_room(self, caller: str, expected: int) -> bool:
        """A caller's first one always has."""
        of_caller = self._arriving_bytes[caller]
        if not of_caller:
            return True
        total = self._arriving_bytes.total()
        return of_caller + expected <= MOST_OF_CALLER_BYTES and total + expected <= MOST_ARRIVING_BYTES

    async def body_or_nothing(self, request: Request, caller: Caller, max_bytes: int) -> bytes:
        """The same, where a call makes sense without one."""
        headers = request.headers
        if headers.get("content-length", "0") == "0" and "transfer-encoding" not in headers:
            return b""
        return await self.body(request, caller, max_bytes)

    @contextmanager
    def place(self, request: Request) -> Iterator[None]:
        """One of the places of those that are in work. Raises Overloaded."""
        with self._admission.place(arrived_s(request.scope)):
            yield

    def deadline_s(self, request: Request) -> float:
        """From the request's arrival on. Raises `Rejection` for one that is none."""
        return min(self._deadline_s, _asked_for_s(request) or self._deadline_s)

    async def in_time(
        self, request: Request, deadline_s: float, answering: Callable[[], Coroutine[Any, Any, bytes]]
    ) -> bytes:
        """What `answering` gives, if it does before the deadline. Raises Unavailable otherwise, and Overloaded where no
        place is free.

        What was begun is finished all the same: cut off between its steps, it would only be more work for others. It
        keeps its place until then: a short deadline lets nobody have more in work than anybody else.
        """
        began_s = arrived_s(request.scope)
        place = ExitStack()
        place.enter_context(self.place(request))
        task = asyncio.ensure_future(answering())
        self._unfinished.add(task)
        task.add_done_callback(self._finished)
        task.add_done_callback(lambda _: place.close())
        await asyncio.wait((task,), timeout=max(0.0, began_s + OUR_SHARE * deadline_s - time.monotonic()))
        if not task.done():
            raise Unavailable("deadline", f"not answered within {OUR_SHARE:.0%} of {deadline_s * 1000:.0f} ms")
        return task.result()

    async def finish(self) -> None:
        """Wait for what was not answered in time."""
        if self._unfinished:
            await asyncio.wait(self._unfinished)

    def _finished(self, task: asyncio.Future[bytes]) -> None:
        self._unfinished.discard(task)
        if not task.cancelled():
            task.exception()  # whoever asked was told already, one way or the other

    def question(self, request: Request, caller: Caller, body: bytes) -> Question:
        """A purchase to decide on. Raises `Rejection` for a key that is none."""
        return Question(
            body=body,
            caller=caller.name,
            noted=not (acts_on_all(caller) and Scope.READ in caller.scopes),
            idempotency_key=idempotency_key(request),
            schema_version=request.headers.get("schema-version"),
            traceparent=traceparent(request),
        )


def arrived_s(scope: AsgiScope) -> float:
    """When the request's last byte came, or its head, where the body is still on its way (see `BoundedHttp`): it has
    waited for its turn since."""
    told: float | None = scope.get("state", {}).get("arrived_s")
    return time.monotonic() if told is None else told


def _asked_for_s(request: Request) -> float | None:
    """Raises `Rejection` for a deadline that is none."""
    text = request.headers.get(DEADLINE_HEADER)
    if text is None:
        return None
    # Leading zeros and all: a number of any length would take its time, or be too long for a float.
    if not (text.isascii() and text.isdigit() and len(text) <= 9 and 1 <= int(text) <= LONGEST_DEADLINE_MS):
        raise Rejection(RejectionReason.RANGE, DEADLINE_HEADER, f"whole milliseconds, 1 to {LONGEST_DEADLINE_MS}")
    return int(text) / 1000


def idempotency_key(request: Request) -> str | None:
    """Raises `Rejection` for one that is none."""
    key = request.headers.get(HEADER)
    return None if key is None else check_key(key)


@contextmanager
def counted(*, one_by_one: bool = False) -> Iterator[None]:
    """A checkout, by what it is answered. One that is cut off is answered nothing. `one_by_one`: purchases of a batch
    that is answered are counted where each of them is."""
    try:
        yield
    except Problem as problem:
        CHECKOUTS.labels(str(problem.status)).inc()
        raise
    except Exception:
        CHECKOUTS.labels("500").inc()
        raise
    if not one_by_one:
        CHECKOUTS.labels("200").inc()


def acts_on_all(caller: Caller) -> bool:
    """Whether he may change what others have asked for: a person who reviews, or runs the system."""
    return not caller.scopes.isdisjoint((Scope.REVIEW, Scope.ADMIN))


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
    for name in _ONCE if len(set(sent)) < len(sent) else ():
        if sent.count(name) > 1:
            field = name.decode().title()
            raise Problem(400, "duplicate-key", f"{field} was sent more than once", field=field, expected="one value")
    client = request.client.host if request.client else None
    of = request.headers.get
    caller = access.caller(of("authorization"), client, scopes, host=of("host"), origin=of("origin"))
    if request.scope["query_string"]:
        raise Problem(400, "query", "this address takes no query parameters", expected="no query parameters")
    return caller
