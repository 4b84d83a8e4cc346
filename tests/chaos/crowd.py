"""Many checkouts at once, by a client that costs little: what is measured is the door, not the one who knocks."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from urllib.parse import urlsplit

ADMITTED, TOLD_TO_COME_AGAIN = 200, frozenset({429, 503})
PATIENCE_S = 30.0
"""For one answer: nobody at a checkout waits for so long."""
REFUSED_PAUSE_S = 1.0
"""As long as it was told to wait."""


@dataclass
class Answers:
    statuses: Counter[int] = field(default_factory=Counter)
    admitted_s: list[float] = field(default_factory=list)
    refused_s: list[float] = field(default_factory=list)
    without_time: int = 0
    """Refusals that don't say when to come again."""
    degraded: int = 0
    """Of the admitted: those whom a fallback decided, which is cheaper."""


async def ask_for(url: str, clients: int, seconds: float, body: Callable[[], bytes]) -> Answers:
    """So many clients ask one question after the other for so long. Raises TimeoutError, ConnectionError."""
    answers, end = Answers(), time.monotonic() + seconds
    await asyncio.gather(*(_client(url, end, body, answers) for _ in range(clients)))
    return answers


def p99(seconds: list[float]) -> float:
    return sorted(seconds)[int(len(seconds) * 0.99)] if seconds else 0.0


async def _client(url: str, end: float, body: Callable[[], bytes], answers: Answers) -> None:
    address = urlsplit(url)
    reader, writer = await asyncio.open_connection(address.hostname, address.port)
    try:
        while time.monotonic() < end:
            content = body()
            began = time.monotonic()
            writer.write(
                b"POST /v1/decisions HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
                b"content-length: %d\r\n\r\n" % len(content) + content
            )
            async with asyncio.timeout(PATIENCE_S):
                status, head, told = await _answer(reader)
            took = time.monotonic() - began
            answers.statuses[status] += 1
            if status == ADMITTED:
                answers.admitted_s.append(took)
                answers.degraded += b'"degraded":null' not in told
            elif status in TOLD_TO_COME_AGAIN:
                answers.refused_s.append(took)
                answers.without_time += b"\nretry-after:" not in head
                await asyncio.sleep(REFUSED_PAUSE_S)
            if b"\nconnection: close" in head:
                writer.close()
                reader, writer = await asyncio.open_connection(address.hostname, address.port)
    finally:
        writer.close()


async def _answer(reader: asyncio.StreamReader) -> tuple[int, bytes, bytes]:
    """Status, head in small letters, and body."""
    head = (await reader.readuntil(b"\r\n\r\n")).lower()
    length = int(head.partition(b"\ncontent-length:")[2].partition(b"\r")[0])
    body = await reader.readexactly(length)
    return int(head.split(b" ", 2)[1]), head, body
