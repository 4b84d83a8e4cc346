"""An HTTP server that sends what a test gives it, framed as the real source frames it: one event a chunk."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

import orjson

HEAD = (
    b"HTTP/1.1 200 OK\r\ndate: Mon, 23 Nov 2026 08:00:00 GMT\r\ncontent-type: text/plain; charset=utf-8\r\n"
    b"transfer-encoding: chunked\r\n\r\n"
)
UNREAD_SECONDS = 1.0
"""Sending that is stuck for so long: the client has stopped reading."""


@dataclass
class Script:
    """One answer: `events`, then a wait for `gate`; then the end of the stream, or a cut of the connection."""

    events: Sequence[bytes]
    gate: asyncio.Event | None = None
    cut: bool = False
    endless: bool = False
    """Send `events` over and over."""


@dataclass
class RecordedSource:
    """Gives its scripts one after the other, the last one again and again."""

    scripts: list[Script]
    requests: list[dict[str, Any]] = field(default_factory=list)
    sent: int = 0
    unread: asyncio.Event = field(default_factory=asyncio.Event)
    """Set once the client has left its socket unread."""

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, limit=65_536)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.close()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            head = await reader.readuntil(b"\r\n\r\n")
            if head.startswith(b"GET"):
                listing = b'{"generators": ["bnpl"]}'
                writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%s" % (len(listing), listing))
                await writer.drain()
            else:
                length = next(
                    int(line.split(b":")[1]) for line in head.lower().splitlines() if line.startswith(b"content-length")
                )
                self.requests.append(orjson.loads(await reader.readexactly(length)))
                await self._answer(writer)
        writer.close()

    async def _answer(self, writer: asyncio.StreamWriter) -> None:
        script = self.scripts.pop(0) if len(self.scripts) > 1 else self.scripts[0]
        writer.write(HEAD)
        async for event in _events(script):
            writer.write(b"%x\r\n%s\r\n" % (len(event), event))
            try:
                async with asyncio.timeout(UNREAD_SECONDS):
                    await writer.drain()
            except TimeoutError:
                self.unread.set()
                return
            self.sent += 1
        if script.cut:
            return
        writer.write(b"0\r\n\r\n")
        await writer.drain()


async def _events(script: Script) -> AsyncIterator[bytes]:
    while True:
        for event in script.events:
            yield event
        if not script.endless:
            break
    if script.gate is not None:
        await script.gate.wait()
