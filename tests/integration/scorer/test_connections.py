"""The REST door on a real socket: slow, silent, oversized and broken requests, and too many connections.

The use case behind it is a stand-in, so that what is asked of it can be counted.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import resource
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from services.scorer.checkout import Question
from services.scorer.connections import MAX_HEAD_BYTES, MAX_HEADERS, ConnectionLimits, Crowd
from services.scorer.keys import Access, Scope, new_key
from services.scorer.rate import Rate
from services.scorer.server import OTHER_FILES, allow_files, listen, serve
from tests.unit.scorer.rest import an_app

PATIENCE_S = 20
"""For what should come within a second on an idle machine."""
DRIP_S = 0.02
PIECE = 1_000
BODY = b'{"a": 1}'
HEAD = b"POST /v1/decisions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
WHOLE = HEAD + b"Content-Length: %d\r\n\r\n" % len(BODY) + BODY
LIVE = b"GET /live HTTP/1.1\r\nHost: localhost\r\n"


@dataclass
class Asked:
    """Counts what it is asked; answers once `go_on` is set."""

    bodies: list[bytes] = field(default_factory=list)
    asked: asyncio.Event = field(default_factory=asyncio.Event)
    go_on: asyncio.Event = field(default_factory=asyncio.Event)

    async def decide(self, question: Question) -> bytes:
        self.bodies.append(question.body)
        self.asked.set()
        await self.go_on.wait()
        return b'{"decided": true}'

    async def find(self, event_id: str, asked_by: str | None) -> bytes | None:
        return None


@dataclass
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    def is_problem(self, status: int, reason: str) -> bool:
        if self.headers["content-type"] != "application/problem+json":
            return False
        told: dict[str, Any] = json.loads(self.body)
        return (self.status, told["status"], told["reason"]) == (status, status, reason)


@dataclass
class Connection:
    """A bare socket: what came before the other side hung up can still be read from it."""

    bare: socket.socket
    received: bytearray = field(default_factory=bytearray)

    async def send(self, data: bytes) -> None:
        await asyncio.get_running_loop().sock_sendall(self.bare, data)

    async def send_in_pieces(self, data: bytes) -> None:
        """Up to all of it, as far as the other side takes it."""
        async with asyncio.timeout(PATIENCE_S):
            with contextlib.suppress(ConnectionError):
                for start in range(0, len(data), PIECE):
                    await self.send(data[start : start + PIECE])

    async def drip(self, piece: bytes) -> None:
        """Send the piece again and again until the other side takes no more."""
        async with asyncio.timeout(PATIENCE_S):
            with contextlib.suppress(ConnectionError):
                while True:
                    await self.send(piece)
                    await asyncio.sleep(DRIP_S)

    async def answer(self) -> Answer:
        """The next one; an EOFError where the other side hung up without."""
        while b"\r\n\r\n" not in self.received:
            await self._receive()
        head, _, body = bytes(self.received).partition(b"\r\n\r\n")
        status, *lines = head.decode().split("\r\n")
        headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}
        length = int(headers["content-length"])
        while len(self.received) < len(head) + 4 + length:
            await self._receive()
        body = bytes(self.received[len(head) + 4 : len(head) + 4 + length])
        del self.received[: len(head) + 4 + length]
        return Answer(int(status.split()[1]), headers, body)

    async def rest(self) -> bytes:
        """All that still comes until the other side hangs up; a TimeoutError where it does not."""
        with contextlib.suppress(EOFError, ConnectionError):
            while True:
                await self._receive()
        return bytes(self.received)

    async def _receive(self) -> None:
        async with asyncio.timeout(PATIENCE_S):
            data = await asyncio.get_running_loop().sock_recv(self.bare, 65_536)
        if not data:
            raise EOFError
        self.received += data


@dataclass
class Door:
    use_case: Asked
    address: tuple[str, int]

    @asynccontextmanager
    async def connection(self, first: bytes = b"") -> AsyncIterator[Connection]:
        with socket.socket() as bare:
            bare.setblocking(False)
            await asyncio.get_running_loop().sock_connect(bare, self.address)
            connection = Connection(bare)
            await connection.send(first)
            yield connection

    async def ask(self, request: bytes = WHOLE) -> Answer:
        async with self.connection(request) as connection:
            return await connection.answer()


@asynccontextmanager
async def door(
    *, connections: int = 50, read_s: float = 30.0, keep_alive_s: float = 30.0, in_flight: int = 8,
    access: Access | None = None, crowd: Crowd | None = None,
) -> AsyncIterator[Door]:  # fmt: skip
    use_case, stop, listener = Asked(), asyncio.Event(), listen("127.0.0.1", 0)
    app = an_app(
        use_case, access, max_body_bytes=200_000, read_seconds=read_s, max_in_flight=in_flight,
        rate=Rate(10_000.0, 10_000),
    )  # fmt: skip
    limits = ConnectionLimits(connections, read_s, keep_alive_s, crowd)
    serving = asyncio.create_task(serve(app, listener, stop, limits))
    try:
        yield Door(use_case, listener.getsockname()[:2])
    finally:
        use_case.go_on.set()
        stop.set()
        await serving


async def test_a_head_that_drips_in_is_cut_off_with_408() -> None:
    async with door(read_s=0.3) as there, there.connection(LIVE + b"X-Slow: ") as slow:
        await slow.drip(b"a")
        answer = await slow.answer()
        assert answer.is_problem(408, "slow")


async def test_a_connection_that_says_nothing_is_closed_without_a_word() -> None:
    async with door(read_s=0.2) as there, there.connection() as silent:
        assert await silent.rest() == b""


async def test_a_connection_is_kept_between_requests_and_closed_when_idle() -> None:
    async with door(keep_alive_s=0.3) as there, there.connection() as kept:
        for _ in range(3):
            await kept.send(LIVE + b"\r\n")
            answer = await kept.answer()
            assert answer.status == 200
        assert await kept.rest() == b""


async def test_a_kept_connection_gets_no_more_time_for_its_next_head_than_a_new_one() -> None:
    async with door(read_s=0.3, keep_alive_s=0.3) as there, there.connection(LIVE + b"\r\n") as kept:
        assert (await kept.answer()).status == 200
        await kept.send(LIVE + b"X-Slow: ")
        await kept.drip(b"a")
        answer = await kept.answer()
        assert answer.is_problem(408, "slow")


class Full:
    """No place for a purchase, ever."""

    def full(self, arrived_s: float) -> bool:
        return True

    def count_whole(self, change: int) -> None:
        """Nobody is let in."""


@pytest.mark.parametrize("body", [b"", b" "], ids=["silent", "dripping"])
async def test_who_is_turned_away_and_never_sends_his_body_is_hung_up_on(body: bytes) -> None:
    async with (
        door(read_s=0.3, crowd=Full()) as there,
        there.connection(HEAD + b"Content-Length: 100000\r\n\r\n") as waiting,
    ):
        answer = await waiting.answer()
        assert answer.is_problem(503, "overloaded")
        if body:
            await waiting.drip(body)
        assert await waiting.rest() == b""


async def test_a_body_that_drips_in_gets_408_and_gives_its_place_back() -> None:
    async with door(read_s=0.5, in_flight=1) as there:
        there.use_case.go_on.set()
        async with there.connection(HEAD + b"Content-Length: 100000\r\n\r\n") as slow:
            await slow.drip(b" ")
            answer = await slow.answer()
            assert answer.is_problem(408, "slow")
        assert there.use_case.bodies == []
        answer = await there.ask()
        assert answer.status == 200


async def test_a_callers_slow_bodies_keep_no_other_caller_out(tmp_path: Path) -> None:
    file = tmp_path / "keys"
    (slow_key, slow_line), (key, line) = (new_key(owner, [Scope.DECIDE]) for owner in ("shop-a", "shop-b"))
    file.write_text(f"{slow_line}\n{line}\n")

    def asked(key: str, rest: bytes) -> bytes:
        return HEAD + b"Authorization: Bearer " + key.encode() + b"\r\nContent-Length: " + rest

    whole = b"%d\r\n\r\n" % len(BODY) + BODY
    async with door(in_flight=2, access=Access.load(file)) as there, contextlib.AsyncExitStack() as stack:
        there.use_case.go_on.set()
        for _ in range(2):
            await stack.enter_async_context(there.connection(asked(slow_key, b"100000\r\n\r\n ")))
        async with asyncio.timeout(PATIENCE_S):  # until both are being waited for: then its owner may send no third
            while not (answer := await there.ask(asked(slow_key, whole))).is_problem(503, "overloaded"):
                assert answer.status == 200
        answer = await there.ask(asked(key, whole))
        assert answer.status == 200


async def test_a_stranger_cannot_hold_his_connection_with_a_body_that_nobody_reads(tmp_path: Path) -> None:
    file = tmp_path / "keys"
    _, line = new_key("shop", [Scope.DECIDE])
    file.write_text(line + "\n")
    large = HEAD + b"Content-Length: 100000\r\n\r\n"
    async with (
        door(read_s=0.3, keep_alive_s=0.3, access=Access.load(file)) as there,
        there.connection(large) as stranger,
    ):
        answer = await stranger.answer()
        assert answer.is_problem(401, "unauthorized")
        await stranger.drip(b" ")
        assert await stranger.rest() == b""


@pytest.mark.parametrize(
    "request_",
    [
        pytest.param(LIVE + b"X-Large: " + b"a" * MAX_HEAD_BYTES + b"\r\n\r\n", id="one large header"),
        pytest.param(LIVE + b"X-A: b\r\n" * MAX_HEADERS + b"\r\n", id="many headers"),
        pytest.param(LIVE + b"X-Endless: " + b"a" * 1_000_000, id="a header without end"),
        pytest.param(
            b"GET /live?" + b"a" * MAX_HEAD_BYTES + b" HTTP/1.1\r\nHost: localhost\r\n\r\n", id="a large address"
        ),
        pytest.param(b"GET /live?" + b"a" * MAX_HEAD_BYTES + b" HTTP/1.0\r\n\r\n", id="a large address alone"),
        pytest.param(b"\r\n" * MAX_HEAD_BYTES, id="nothing but empty lines"),
    ],
)
async def test_a_head_over_the_limits_is_refused(request_: bytes) -> None:
    async with door() as there, there.connection() as large:
        await large.send_in_pieces(request_)
        answer = await large.answer()
        assert answer.is_problem(431, "head")


async def test_a_head_just_within_the_limits_is_answered() -> None:
    room = MAX_HEAD_BYTES - len("/live") - len("Hostlocalhost") - len("X-Large") - (MAX_HEADERS - 2) * len("X-Ab")
    headers = b"X-A: b\r\n" * (MAX_HEADERS - 2) + b"X-Large: " + b"a" * room + b"\r\n\r\n"
    async with door() as there:
        answer = await there.ask(LIVE + headers)
        assert answer.status == 200
        assert (await there.ask(LIVE + headers.replace(b"a\r\n\r\n", b"aa\r\n\r\n"))).is_problem(431, "head")


async def test_headers_after_the_body_are_within_the_limits_too() -> None:
    body = b"Transfer-Encoding: chunked\r\n\r\n8\r\n" + BODY + b"\r\n0\r\nX-Endless: "
    async with door() as there, there.connection(HEAD + body) as large:
        await large.send_in_pieces(b"a" * 100_000)
        answer = await large.answer()
        assert answer.is_problem(431, "head")
        assert there.use_case.bodies == []


async def test_a_body_in_one_write_larger_than_a_head_may_be_is_read() -> None:
    body = b" " * 150_000 + BODY
    async with door() as there:
        there.use_case.go_on.set()
        answer = await there.ask(HEAD + b"Content-Length: %d\r\n\r\n" % len(body) + body)
        assert answer.status == 200
        assert there.use_case.bodies == [body]


async def test_a_body_in_many_small_chunks_is_read() -> None:
    chunks = b"1\r\n \r\n" * 20_000 + b"8\r\n" + BODY + b"\r\n0\r\n\r\n"
    async with door() as there:
        there.use_case.go_on.set()
        answer = await there.ask(HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + chunks)
        assert answer.status == 200
        assert there.use_case.bodies == [b" " * 20_000 + BODY]


@pytest.mark.parametrize(
    "request_",
    [
        pytest.param(b"\x16\x03\x01\x02\x00\x01\x00", id="TLS"),
        pytest.param(b"EHLO there\r\n\r\n", id="another protocol"),
        pytest.param(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", id="HTTP/2"),
        pytest.param(
            HEAD + b"Content-Length: 8\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + BODY, id="two lengths"
        ),
        pytest.param(HEAD + b"Content-Length: 8\r\nContent-Length: 9\r\n\r\n" + BODY, id="the length twice"),
        pytest.param(HEAD + b"Content-Length: -1\r\n\r\n", id="a length below 0"),
        pytest.param(HEAD + b"Content-Length: 0x8\r\n\r\n" + BODY, id="a length in hex"),
        pytest.param(HEAD + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n" + BODY, id="a chunk of no length"),
        pytest.param(HEAD + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", id="an unknown transfer coding"),
        pytest.param(LIVE + b"X-A : b\r\n\r\n", id="a blank before the colon"),
        pytest.param(LIVE + b"X-A: b\r\n folded\r\n\r\n", id="a folded header"),
        pytest.param(LIVE + b"X-A: \x00\r\n\r\n", id="NUL in a header"),
        pytest.param(LIVE + b"X-A: b\rX-B: c\r\n\r\n", id="a bare CR"),
    ],
)
async def test_what_is_no_request_is_a_problem_and_reaches_nobody(request_: bytes) -> None:
    async with door() as there, there.connection(request_) as broken:
        answer = await broken.answer()
        assert answer.is_problem(400, "http")
        assert await broken.rest() == b""
        assert there.use_case.bodies == []


async def test_a_stranger_writes_no_line_into_the_log(caplog: pytest.LogCaptureFixture) -> None:
    upgrade = LIVE + b"Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
    caplog.set_level(logging.WARNING)
    async with door() as there:
        for request in (b"EHLO there\r\n\r\n", LIVE + b"X-A : b\r\n\r\n"):
            assert (await there.ask(request)).is_problem(400, "http")
        assert (await there.ask(upgrade)).status == 200
    assert [record.getMessage() for record in caplog.records] == []


async def test_garbage_behind_a_request_in_work_never_takes_its_answers_place() -> None:
    async with door() as there, there.connection(WHOLE) as connection:
        await there.use_case.asked.wait()
        await connection.send(b"garbage\r\n\r\n")
        assert (await there.ask(LIVE + b"\r\n")).status == 200  # the door has seen the garbage by now
        there.use_case.go_on.set()
        answer = await connection.answer()
        assert (answer.status, answer.body) == (200, b'{"decided": true}')
        assert await connection.rest() == b""


async def test_beyond_the_limit_connections_get_503_until_one_is_given_back() -> None:
    live = LIVE + b"\r\n"
    async with door(connections=2) as there, there.connection(live) as first, there.connection(live) as second:
        assert (await first.answer()).status == 200
        assert (await second.answer()).status == 200
        async with there.connection() as third:
            refused = await third.answer()
        assert refused.is_problem(503, "overloaded")
        assert refused.headers["retry-after"] == "1"
        second.bare.close()
        async with asyncio.timeout(PATIENCE_S):
            while (await there.ask(live)).status != 200:  # noqa: ASYNC110 (the door alone knows)
                await asyncio.sleep(DRIP_S)


async def test_the_process_may_open_as_many_files_as_its_connections_need() -> None:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(512, before[1]), before[1]))
        allow_files(1_000 + OTHER_FILES)
        assert resource.getrlimit(resource.RLIMIT_NOFILE) == (min(1_000 + OTHER_FILES, before[1]), before[1])
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
