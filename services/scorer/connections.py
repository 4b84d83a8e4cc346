"""What a connection may cost before anybody knows who is at its other end.

uvicorn bounds neither the size of a request's head nor the time that it takes to arrive, so a stranger without a key
could fill the memory or hold connections for ever. Here a connection without a request in work has a deadline, and a
head a size. A body has its own limits, in `body.py`.
"""

from __future__ import annotations

from asyncio import TimerHandle, Transport
from dataclasses import dataclass
from typing import Any, Protocol

from starlette.responses import Response
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from services.scorer.body import STOOD_STILL_S
from services.scorer.door import RETRY_AFTER_S, overloaded
from services.scorer.metrics import ANSWERS, CHECKOUTS
from services.scorer.problems import Problem, answer
from services.scorer.routes.decisions import DECIDE_PATH

MAX_HEAD_BYTES = 16_384
"""Of address and headers. A key, a trace and what balancers add take one or two thousand."""
MAX_HEADERS = 64
_DECIDE_URL = DECIDE_PATH.encode()


class Crowd(Protocol):
    def full(self, arrived_s: float) -> bool: ...
    def count_whole(self, change: int) -> None: ...


@dataclass(frozen=True, slots=True)
class ConnectionLimits:
    """Of one process."""

    max_connections: int
    read_seconds: float
    """From a connection's first moment to the end of a request's head."""
    keep_alive_seconds: float
    """How long a connection is kept after an answer until the next request begins."""
    crowd: Crowd | None = None
    """Tells whether one more purchase can be taken up; None: all are."""


class BoundedHttp(HttpToolsProtocol):
    """A connection within `limits`. Refusals are problem details like all others, and end the connection."""

    limits: ConnectionLimits

    def connection_made(self, transport: Transport) -> None:  # type: ignore[override]  # as uvicorn's own
        self._deadline: TimerHandle | None = None
        self._loose_bytes = (
            0  # received, and neither of a complete head nor of a body: what the parser may be gathering
        )
        self._field_bytes = 0  # of its complete fields
        self._refusal: Problem | None = None
        self._ends = False
        self._turned_away = False
        self._whole = 0  # 1 while a purchase that is there as a whole isn't answered
        super().connection_made(transport)
        if len(self.connections) > self.limits.max_connections:
            self._refuse(Problem.later(503, "overloaded", "too many connections at once", RETRY_AFTER_S))
        else:
            self._expect_head(self.limits.read_seconds)

    def connection_lost(self, exc: Exception | None) -> None:
        self._forget_deadline()
        self._count_whole(0)
        super().connection_lost(exc)
        self._unset_keepalive_if_required()  # which uvicorn leaves running where the connection broke

    def data_received(self, data: bytes) -> None:
        for start in range(0, len(data), MAX_HEAD_BYTES):  # a read may hold 256 KB: no more than a head at a time
            if self._ends or self.transport.is_closing():
                return
            piece = data[start : start + MAX_HEAD_BYTES]
            self._loose_bytes += len(piece)
            super().data_received(piece)
            if self._loose_bytes > MAX_HEAD_BYTES and not self._ends:
                self._refuse(_head_too_large())

    def on_message_begin(self) -> None:
        self._field_bytes = 0
        super().on_message_begin()

    def on_header(self, name: bytes, value: bytes) -> None:
        super().on_header(name, value)
        self._field_bytes += len(name) + len(value)
        if len(self.headers) > MAX_HEADERS or len(self.url) + self._field_bytes > MAX_HEAD_BYTES:
            self._refusal = _head_too_large()
            raise ValueError("the head is too large")  # stops the parser, which then asks for `send_400_response`

    def on_headers_complete(self) -> None:
        if len(self.url) > MAX_HEAD_BYTES:  # an old client's request may have no header at all
            self._refusal = _head_too_large()
            raise ValueError("the head is too large")
        self._forget_deadline()
        self._loose_bytes = 0
        self._note_arrival()
        if self._is_purchase() and self.limits.crowd is not None and self.limits.crowd.full(self.loop.time()):
            self._turn_away()
        else:
            super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._loose_bytes = 0  # what follows may be a chunk's length, or headers after the body
        if not self._turned_away:
            super().on_body(body)

    def on_message_complete(self) -> None:
        self._loose_bytes = 0
        if self._turned_away:
            self._turned_away = False
            self._expect_head(self.limits.keep_alive_seconds + self.limits.read_seconds)
            return
        self._note_arrival()["whole"] = True
        if self._is_purchase() and not self.cycle.response_complete:
            self._count_whole(1)
        super().on_message_complete()

    def on_response_complete(self) -> None:
        self._count_whole(0)
        super().on_response_complete()
        if self.cycle.response_complete and not self.transport.is_closing():
            # The rest of a body that was refused unread falls under it as well.
            self._expect_head(self.limits.keep_alive_seconds + self.limits.read_seconds)

    def _is_purchase(self) -> bool:
        return self.url == _DECIDE_URL and self.parser.get_method() == b"POST"

    def _count_whole(self, whole: int) -> None:
        if whole != self._whole and self.limits.crowd is not None:
            self.limits.crowd.count_whole(whole - self._whole)
            self._whole = whole

    def _turn_away(self) -> None:
        """No place for a purchase: said at once, before anything else is done for it.

        Beyond what the machine can do, most of what it does is to say no, and who was let in waits for that: so not
        through the whole application. Behind an earlier request in work this one has to wait its turn.
        """
        earlier = self.cycle is not None and not self.cycle.response_complete
        if earlier or self.expect_100_continue or not self.parser.should_keep_alive():
            super().on_headers_complete()
            return
        self._turned_away = True
        # Nobody reads its body, so nobody else waits for the rest of it.
        self._expect_head(self.limits.read_seconds)
        ANSWERS.labels("503", "overloaded").inc()
        CHECKOUTS.labels("503").inc()
        self.transport.write(_OVERLOADED)

    def _note_arrival(self) -> dict[str, Any]:
        """The request's state, of which the application reads."""
        # The loop's own time is that of its latest look at the sockets: what was read since has waited from then on.
        state: dict[str, Any] = self.scope.setdefault("state", {})
        state["arrived_s"] = self.loop.time()
        return state

    def send_400_response(self, msg: str) -> None:
        self._refuse(self._refusal or Problem(400, "http", "this is no request as HTTP/1.1 has it"))

    def _expect_head(self, seconds: float) -> None:
        self._forget_deadline()
        self._deadline = self.loop.call_later(seconds, self._too_slow)

    def _forget_deadline(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _too_slow(self) -> None:
        if self._deadline is not None and self.loop.time() - self._deadline.when() > STOOD_STILL_S:
            self._expect_head(self.limits.read_seconds)  # this process stood still: what it waits for may be there
        elif self._loose_bytes and (self.cycle is None or not self.cycle.more_body):
            self._refuse(Problem(408, "slow", "the request's head took too long to arrive"))
        else:
            self.transport.close()

    def _refuse(self, problem: Problem) -> None:
        """Answer and hang up. Where earlier requests are in work only hang up, after their answers: this one would be
        taken for theirs.
        """
        self._ends = True
        self._forget_deadline()
        self._unset_keepalive_if_required()
        cycle = self.cycle
        if cycle is not None and not cycle.response_complete:
            cycle.keep_alive = False
            if self.pipeline or not cycle.more_body or cycle.response_started:
                return
            cycle.disconnected = True  # its own body is broken: whoever waits for the rest of it is told
            cycle.message_event.set()
        self.transport.write(_on_the_wire(answer(problem)))
        self.transport.close()


def within(limits: ConnectionLimits) -> type[BoundedHttp]:
    """The class that uvicorn makes connections of."""
    return type("BoundedHttp", (BoundedHttp,), {"limits": limits})


def _head_too_large() -> Problem:
    expected = f"at most {MAX_HEAD_BYTES} bytes in {MAX_HEADERS} headers"
    return Problem(431, "head", "the request's address and headers are too large", expected=expected)


def _on_the_wire(response: Response, *, last: bool = True) -> bytes:
    headers = b"".join(name + b": " + value + b"\r\n" for name, value in response.raw_headers)
    end = b"connection: close\r\n\r\n" if last else b"\r\n"
    return STATUS_LINE[response.status_code] + headers + end + bytes(response.body)


_OVERLOADED = _on_the_wire(answer(overloaded()), last=False)
