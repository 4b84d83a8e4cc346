"""A Redis client for many small questions at once: what is asked in the same moment travels together."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from hiredis import pack_command
from redis.asyncio import Connection, Redis
from redis.exceptions import ResponseError
from redis.exceptions import TimeoutError as RedisTimeout

from services.scorer.together import give

SECOND_LOOK = 0.5
"""Share of the patience that a caller waits on after it ran out."""


@dataclass(slots=True)
class _Asked:
    command: tuple[Any, ...]
    options: dict[str, Any]
    answer: asyncio.Future[Any]
    until_s: float
    looked_twice: bool = False


class GatheringRedis(Redis):
    """Commands of concurrent requests go out as one pipeline, the next one once the last was answered.

    For the client the round trip is the dear part, some 200 µs of Python for each, whatever is in it: at 16 requests at
    once this more than halves the cost of a checkout. Each command still has its own answer and its own error.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.patience_s = 5.0
        """How long a caller waits for an answer; set it after construction. A connection shared by many isn't given up
        because one of them was in a hurry: that is `reconnect_s`."""
        self.reconnect_s: float | None = None
        """After so long without the answers to what was sent the connection is taken for dead. For all of them at once:
        the socket's own time-outs are one for each write and each read, and cost as much as those."""
        self._kept: Connection | None = None
        """The connection of the last trip, for the next one: there is one under way at a time, and to hand it in to the
        pool and have it looked through each time costs a third of a trip."""
        self._asked: list[_Asked] = []
        self._under_way: list[_Asked] = []
        self._travelling: asyncio.Task[None] | None = None
        self._watch: asyncio.TimerHandle | None = None
        """One for all who wait: a timer for each would cost as much as the rest of a question."""

    async def execute_command(self, *args: Any, **options: Any) -> Any:
        loop = asyncio.get_running_loop()
        asked = _Asked(args, options, loop.create_future(), loop.time() + self.patience_s)
        self._asked.append(asked)
        if self._travelling is None or self._travelling.done():
            self._travelling = asyncio.create_task(self._travel())
        if self._watch is None:
            self._watch = loop.call_at(asked.until_s, self._look)
        return await asked.answer

    def _look(self) -> None:
        """Tell those whose patience ran out."""
        self._watch = None
        loop = asyncio.get_running_loop()
        now, next_s = loop.time(), float("inf")
        for asked in (*self._under_way, *self._asked):
            if asked.answer.done():
                continue
            if asked.until_s <= now and asked.looked_twice:
                asked.answer.set_exception(RedisTimeout(f"no answer within {self.patience_s * 1000:.0f} ms"))
                continue
            if asked.until_s <= now:
                # The event loop looks at its timers before its sockets: after a pause of our own making (a chunk of
                # the stream, say) the answer may be there unread, or the question unsent. Redis gets a second, shorter
                # look.
                asked.looked_twice = True
                asked.until_s = now + self.patience_s * SECOND_LOOK
            next_s = min(next_s, asked.until_s)
        if next_s < float("inf"):
            self._watch = loop.call_at(next_s, self._look)

    async def _there_and_back(self, together: Sequence[_Asked]) -> list[Any]:
        """Each one's answer, or its error. What a pipeline of the client's own does beside this, for commands that we
        don't use, costs as much again."""
        if not together:
            return []
        connection = await self._connected()
        hung = None
        if self.reconnect_s is not None:
            hung = asyncio.get_running_loop().call_later(self.reconnect_s, _cut, connection)
        try:
            answers = await self._over_the_wire(connection, together)
        except BaseException:
            await self._give_up(connection)  # else somebody would be given the answers that are on their way
            raise
        finally:
            if hung is not None:
                hung.cancel()
        self._kept = connection
        return answers

    async def _over_the_wire(self, connection: Connection, together: Sequence[_Asked]) -> list[Any]:
        await connection.send_packed_command([_packed(asked.command) for asked in together])
        answers: list[Any] = []
        for asked in together:
            try:
                answers.append(await self.parse_response(connection, asked.command[0], **asked.options))
            except ResponseError as error:
                answers.append(error)
        return answers

    async def _connected(self) -> Connection:
        kept, self._kept = self._kept, None
        if kept is not None:
            if not _is_broken(kept) and not await kept.can_read():
                return kept
            await self._give_up(kept)  # closed from the other side, or something is on it that nobody asked for
        async with asyncio.timeout(self.reconnect_s):
            connection: Connection = await self.connection_pool.get_connection()  # type: ignore[no-untyped-call]
            return connection

    async def _give_up(self, connection: Connection) -> None:
        await connection.disconnect(nowait=True)
        await self.connection_pool.release(connection)

    async def _travel(self) -> None:
        while self._asked:
            # Who has left, or was told that it takes too long, is not asked for any more.
            self._under_way = together = [asked for asked in self._asked if not asked.answer.done()]
            self._asked = []
            await give(self._there_and_back(together), [asked.answer for asked in together])
            self._under_way = []


def _is_broken(connection: Connection) -> bool:
    """Whether it is none any more, or was reset: the client itself sees only an orderly end."""
    reader, writer = connection._reader, connection._writer
    return reader is None or writer is None or reader.exception() is not None or writer.transport.is_closing()


def _cut(connection: Connection) -> None:
    """So that whoever waits for the rest of an answer is told. Much less than a time-out of asyncio's for each trip."""
    if connection._writer is not None:  # there is no public way that doesn't wait
        connection._writer.transport.abort()


def _packed(command: tuple[Any, ...]) -> bytes:
    """As it goes over the wire; the name of a command may have two words."""
    name, *arguments = command
    packed: bytes = pack_command((*name.split(), *arguments) if " " in name else command)
    return packed
