"""HTTP load by a client that costs little: what is measured is the server. Run as a process of its own.

`python -m tests.bench.load PORT REQUESTS ANSWERS CONNECTIONS SECONDS [RATE]`, where REQUESTS is a file of whole HTTP
requests, each behind its length (four bytes, big-endian), and ANSWERS the file to write what came of them to. Each
connection sends its next request when the last was answered; with a rate, requests are due at even times, and how long
one took counts from when it was due (so a server that stalls can't hide those that it kept from being asked).
"""

from __future__ import annotations

import asyncio
import json
import struct
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import cast

import uvloop

PATIENCE_S = 30.0


@dataclass
class Answers:
    """What a run of load got."""

    seconds: float = 0.0
    """From the first request to the last answer."""
    took_s: list[float] = field(default_factory=list)
    """Of each answer, in the order they came."""
    status_of: list[int] = field(default_factory=list)
    """Of each, in the same order."""
    exhausted: bool = False
    """There were fewer requests than could have been sent."""

    @property
    def statuses(self) -> Counter[int]:
        return Counter(self.status_of)

    @property
    def rate(self) -> float:
        return len(self.took_s) / self.seconds

    def percentile(self, share: float) -> float:
        ranked = sorted(self.took_s)
        return ranked[min(int(len(ranked) * share), len(ranked) - 1)]


class _Connection(asyncio.Protocol):
    """One request at a time."""

    def __init__(self) -> None:
        self._buffer = b""
        self._waiting: asyncio.Future[int] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)  # uvloop's own is none of asyncio's

    async def ask(self, request: bytes) -> int:
        self._waiting = asyncio.get_running_loop().create_future()
        self.transport.write(request)
        return await self._waiting

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0 or self._waiting is None:
            return
        head = self._buffer[: end + 2].lower()
        _, found, rest = head.partition(b"\r\ncontent-length:")
        length = int(rest.partition(b"\r")[0]) if found else 0
        if len(self._buffer) < end + 4 + length:
            return
        status = int(self._buffer[9:12])
        self._buffer = b""
        self._waiting.set_result(status)

    def connection_lost(self, error: Exception | None) -> None:
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_exception(ConnectionError("closed by the server"))


async def load(port: int, requests: Iterator[bytes], connections: int, seconds: float, rate: float | None) -> Answers:
    """Raises ConnectionError, TimeoutError."""
    loop = asyncio.get_running_loop()
    opened = [(await loop.create_connection(_Connection, "127.0.0.1", port))[1] for _ in range(connections)]
    answers, began = Answers(), time.perf_counter()
    end, due = began + seconds, _due(began, rate)

    async def one(connection: _Connection) -> None:
        while True:
            at = next(due) if rate else time.perf_counter()
            if at >= end:
                return
            request = next(requests, None)
            if request is None:
                answers.exhausted = True
                return
            if (early := at - time.perf_counter()) > 0:
                await asyncio.sleep(early)
            async with asyncio.timeout(PATIENCE_S):
                status = await connection.ask(request)
            answers.took_s.append(time.perf_counter() - at)
            answers.status_of.append(status)

    await asyncio.gather(*(one(connection) for connection in opened))
    answers.seconds = time.perf_counter() - began
    for connection in opened:
        connection.transport.close()
    return answers


def _due(began: float, rate: float | None) -> Iterator[float]:
    number = 0
    while True:
        yield began + number / (rate or 1.0)
        number += 1


def pack(requests: Iterator[bytes] | list[bytes], path: Path) -> Path:
    with path.open("wb") as file:
        for request in requests:
            file.write(struct.pack(">I", len(request)) + request)
    return path


def unpack(data: bytes) -> Iterator[bytes]:
    place = 0
    while place < len(data):
        (length,) = struct.unpack_from(">I", data, place)
        yield data[place + 4 : place + 4 + length]
        place += 4 + length


def main() -> None:
    port, path, answers, connections, seconds, *rate = sys.argv[1:]
    requests = unpack(Path(path).read_bytes())
    made = uvloop.run(load(int(port), requests, int(connections), float(seconds), float(rate[0]) if rate else None))
    Path(answers).write_text(json.dumps(asdict(made)))


if __name__ == "__main__":
    main()
