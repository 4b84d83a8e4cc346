"""A TCP proxy that can cut, halve, strand and slow the connections through it."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Self

CHUNK = 65_536
END_S = 2.0
"""For the connections that are aborted at the end; what is slow is on its way for less."""


class Hit(StrEnum):
    CUT = "connections cut"
    STRANDED = "connections stranded"
    DELAYED = "pieces delayed"
    SWALLOWED = "answers lost"


@dataclass(eq=False, slots=True)
class _Connection:
    client: asyncio.StreamWriter
    server: asyncio.StreamWriter
    stranded: bool = False
    over: asyncio.Event = field(default_factory=asyncio.Event)

    def abort(self) -> None:
        self.over.set()
        self.client.transport.abort()
        self.server.transport.abort()


class Proxy:
    """Forwards `port` to `target` on loopback, in a thread with a loop of its own: a fault is one assignment."""

    def __init__(self, port: int, target: int, sleep: Callable[[float], Awaitable[object]] = asyncio.sleep) -> None:
        self._sleep = sleep
        self.port = port
        self.target = target
        """Where new connections lead to: may be changed at any time."""
        self.delay_s = 0.0
        """Of each piece, in each direction."""
        self.swallows_answers = False
        """What the server says is lost on its way; what it is told arrives."""
        self.refuses = False
        """New connections are closed at once."""
        self.hits: Counter[Hit] = Counter()
        """What it has done so far: a fault that met nothing has shown nothing."""
        self._open: set[_Connection] = set()
        self._serving: set[asyncio.Task[None]] = set()
        self._started = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"proxy-{port}", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        if not self._started.wait(10):
            raise RuntimeError(f"the proxy on port {self.port} did not start")
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(10)

    def cut(self) -> None:
        """Close every connection as a broken cable would."""
        self._loop.call_soon_threadsafe(self._cut)

    def strand(self) -> None:
        """Half-open: what is open stays open, and nothing gets through any more, in either direction, not even an end.
        Who connects anew is served."""
        self._loop.call_soon_threadsafe(self._strand)

    def heal(self) -> None:
        """Work as if nothing had been; connections that can't go on, since something of them was lost, are closed."""
        lost = self.swallows_answers
        self.delay_s, self.swallows_answers, self.refuses = 0.0, False, False
        self._loop.call_soon_threadsafe(self._cut if lost else self._cut_stranded)

    def _cut(self) -> None:
        for connection in list(self._open):
            connection.abort()
            self.hits[Hit.CUT] += 1

    def _strand(self) -> None:
        for connection in self._open:
            connection.stranded = True
            self.hits[Hit.STRANDED] += 1

    def _cut_stranded(self) -> None:
        for connection in list(self._open):
            if connection.stranded:
                connection.abort()

    def _run(self) -> None:
        asyncio.run(self._serve())

    async def _serve(self) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        server = await asyncio.start_server(self._accept, "127.0.0.1", self.port)
        self._started.set()
        await self._stop.wait()
        server.close()
        self._cut()
        if self._serving:
            await asyncio.wait(self._serving, timeout=END_S)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is not None:
            self._serving.add(task)
            task.add_done_callback(self._serving.discard)
        if self.refuses:
            writer.transport.abort()
            return
        try:
            back, forth = await asyncio.open_connection("127.0.0.1", self.target)
        except OSError:
            writer.transport.abort()
            return
        connection = _Connection(writer, forth)
        self._open.add(connection)
        await asyncio.gather(
            self._pass(connection, reader, forth, answers=False), self._pass(connection, back, writer, answers=True)
        )
        self._open.discard(connection)

    async def _pass(
        self, connection: _Connection, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, answers: bool
    ) -> None:
        with contextlib.suppress(OSError):
            while piece := await reader.read(CHUNK):
                if self.delay_s:
                    self.hits[Hit.DELAYED] += 1
                    await self._sleep(self.delay_s)
                if answers and self.swallows_answers:
                    self.hits[Hit.SWALLOWED] += 1
                    continue
                if connection.stranded:
                    continue
                writer.write(piece)
                await writer.drain()
        if connection.stranded:
            await connection.over.wait()  # the other side must not hear of the end
        writer.close()
