"""The proxy's modes, over real sockets."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import pytest

from deploy.local.ports import free_ports
from tests.chaos.proxy import Hit, Proxy

QUIET_S = 0.3
"""Without a byte for so long, none is coming: on loopback they take microseconds."""
PATIENCE_S = 10.0


@dataclass
class Echo:
    """A server that answers with what it is told, after its name."""

    name: bytes
    port: int
    heard: bytes = b""
    ended: int = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while piece := await reader.read(1000):
                self.heard += piece
                writer.write(self.name + piece)
        except ConnectionError:
            pass
        self.ended += 1
        writer.close()


@asynccontextmanager
async def echo(name: bytes, port: int) -> AsyncIterator[Echo]:
    served = Echo(name, port)
    server = await asyncio.start_server(served.serve, "127.0.0.1", port)
    try:
        yield served
    finally:
        server.close()


@dataclass
class Rig:
    proxy: Proxy
    server: Echo
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    slept: list[tuple[float, bytes]]
    """For how long the proxy would have slept, and what the server had heard when it began to."""

    async def ask(self, text: bytes) -> bytes:
        return await answer(self.reader, self.writer, text)

    async def another(self, text: bytes) -> bytes:
        """By a connection of its own."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.proxy.port)
        try:
            return await answer(reader, writer, text)
        finally:
            writer.close()


async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, text: bytes) -> bytes:
    writer.write(text)
    async with asyncio.timeout(PATIENCE_S):
        return await reader.read(1000)


async def has_ended(reader: asyncio.StreamReader) -> bool:
    """Whether the connection ends, in order or not. Raises TimeoutError where it stays open."""
    async with asyncio.timeout(PATIENCE_S):
        try:
            return await reader.read(1) == b""
        except ConnectionResetError:
            return True


@pytest.fixture
async def rig() -> AsyncIterator[Rig]:
    port, target = free_ports(2)
    slept: list[tuple[float, bytes]] = []
    async with echo(b"a:", target) as server:

        async def sleep(seconds: float) -> None:
            slept.append((seconds, server.heard))

        with Proxy(port, target, sleep) as proxy:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            yield Rig(proxy, server, reader, writer, slept)
            writer.close()


async def test_what_goes_in_comes_out(rig: Rig) -> None:
    assert await rig.ask(b"x") == b"a:x"


async def test_a_cut_ends_what_is_open_and_nothing_else(rig: Rig) -> None:
    assert await rig.ask(b"x") == b"a:x"
    assert not rig.proxy.hits
    rig.proxy.cut()
    assert await has_ended(rig.reader)
    assert rig.proxy.hits == {Hit.CUT: 1}
    assert await rig.another(b"y") == b"a:y"


async def test_a_slow_link_takes_its_time_in_each_direction(rig: Rig) -> None:
    rig.proxy.delay_s = 0.2
    assert await rig.ask(b"x") == b"a:x"
    delayed = [(0.2, b""), (0.2, b"x")]
    assert rig.slept == delayed
    assert rig.proxy.hits == {Hit.DELAYED: 2}
    rig.proxy.heal()
    assert await rig.another(b"y") == b"a:y"
    assert rig.slept == delayed


async def test_a_lost_answer_is_one_to_a_question_that_arrived(rig: Rig) -> None:
    assert await rig.ask(b"x") == b"a:x"
    rig.proxy.swallows_answers = True
    rig.writer.write(b"y")
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(rig.reader.read(1), QUIET_S)
    assert rig.server.heard == b"xy"
    assert rig.proxy.hits == {Hit.SWALLOWED: 1}
    rig.proxy.heal()
    assert await has_ended(rig.reader)  # it can't go on: something of it is missing


async def test_a_half_open_connection_passes_nothing_and_never_ends(rig: Rig) -> None:
    assert await rig.ask(b"x") == b"a:x"
    rig.proxy.strand()
    assert await rig.another(b"y") == b"a:y"  # after it in the proxy's loop, so the first one is stranded by now
    rig.writer.write(b"z")
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(rig.reader.read(1), QUIET_S)
    ended = rig.server.ended
    rig.writer.close()
    await asyncio.sleep(QUIET_S)
    assert (rig.server.heard, rig.server.ended) == (b"xy", ended)


async def test_healing_ends_half_open_connections_and_leaves_the_others(rig: Rig) -> None:
    assert await rig.ask(b"x") == b"a:x"
    rig.proxy.strand()
    reader, writer = await asyncio.open_connection("127.0.0.1", rig.proxy.port)
    assert await answer(reader, writer, b"y") == b"a:y"
    rig.proxy.heal()
    assert await has_ended(rig.reader)
    assert await answer(reader, writer, b"z") == b"a:z"
    writer.close()


async def test_new_connections_lead_to_where_the_target_is_now(rig: Rig) -> None:
    assert await rig.ask(b"x") == b"a:x"
    (port,) = free_ports(1)
    async with echo(b"b:", port):
        rig.proxy.target = port
        assert await rig.another(b"x") == b"b:x"
        assert await rig.ask(b"x") == b"a:x"
