"""The client of the benchmarks, against a server that is known."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.bench.load import Answers, load, pack, unpack

REQUEST = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}"


@asynccontextmanager
async def server(pause_s: float = 0.0, status: int = 200) -> AsyncIterator[int]:
    """One that answers in two pieces, each connection's questions one after the other."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                await reader.readuntil(b"\r\n\r\n")
                await reader.readexactly(2)
                await asyncio.sleep(pause_s)
                writer.write(b"HTTP/1.1 %d X\r\ncontent-length: 4\r\n\r\nab" % status)
                await writer.drain()
                await asyncio.sleep(0)
                writer.write(b"cd")
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    listening = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with listening:
        yield listening.sockets[0].getsockname()[1]


async def run(*, pause_s: float = 0.0, status: int = 200, count: int, rate: float | None = None) -> Answers:
    async with server(pause_s, status) as port:
        return await load(port, iter([REQUEST] * count), connections=2, seconds=0.5, rate=rate)


async def test_every_answer_is_counted_once_by_its_status() -> None:
    found = await run(status=503, count=40)
    assert found.exhausted
    assert dict(found.statuses) == {503: 40}
    assert len(found.took_s) == 40


async def test_it_ends_when_its_time_is_over_with_questions_left() -> None:
    found = await run(pause_s=0.01, count=10_000)
    assert not found.exhausted
    assert 0 < len(found.took_s) <= 2 * 51
    assert found.rate == pytest.approx(len(found.took_s) / found.seconds)


async def test_with_a_rate_the_wait_for_a_free_connection_counts() -> None:
    """Two connections that take 50 ms each do 40 a second; of 200 a second the last waited for most of the run."""
    found = await run(pause_s=0.05, count=100, rate=200.0)
    assert min(found.took_s) >= 0.05
    assert found.percentile(0.99) > 0.5


async def test_a_percentile_is_one_of_the_answers() -> None:
    answers = Answers(took_s=[0.3, 0.1, 0.2])
    assert (answers.percentile(0.0), answers.percentile(0.5), answers.percentile(1.0)) == (0.1, 0.2, 0.3)


def test_requests_come_out_of_the_file_as_they_went_in(tmp_path: Path) -> None:
    requests = [b"", REQUEST, b"x" * 70_000]
    assert list(unpack(pack(requests, tmp_path / "requests").read_bytes())) == requests
