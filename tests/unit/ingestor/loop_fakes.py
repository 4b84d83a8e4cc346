"""A source, a topic and a cursor store in memory, for the two loops."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import Any

import httpx
import orjson
from redis.asyncio import Redis

from services.ingestor.cursor import Cursor, CursorStore
from services.ingestor.delivery import Delivery
from services.ingestor.intake import Intake
from services.ingestor.source import Backoff, SimtomSource
from shared.contracts.transactions import Limits
from shared.kafka.errors import TransientError
from shared.kafka.producer import OutgoingRecord

NOW = datetime.fromisoformat("2026-11-23T08:00:00+00:00")


@dataclass
class Answer:
    """One answer of the source: its chunks, then the end of the stream, or a break of it."""

    chunks: Sequence[bytes] = ()
    breaks: bool = False
    status: int = 200
    content_type: str = "text/plain; charset=utf-8"
    date: str = "Mon, 23 Nov 2026 08:00:00 GMT"
    """By the source's own clock."""
    framing: str = "chunked"
    """Empty: it ends with its connection."""


class _Stream(httpx.AsyncByteStream):
    def __init__(self, answer: Answer) -> None:
        self._answer = answer

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for chunk in self._answer.chunks:
            yield chunk
        if self._answer.breaks:
            raise httpx.RemoteProtocolError("peer closed connection without sending complete message body")


class Source:
    """Gives its answers one after the other; out of answers, it sets `stop`."""

    def __init__(self, *answers: Answer, stop: asyncio.Event) -> None:
        self._answers = list(answers)
        self._stop = stop
        self.requests: list[dict[str, Any]] = []

    def handle(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(orjson.loads(request.content))
        if not self._answers:
            self._stop.set()
            raise httpx.ConnectError("no more answers")
        answer = self._answers.pop(0)
        headers = {"date": answer.date, "content-type": answer.content_type, "transfer-encoding": answer.framing}
        return httpx.Response(answer.status, headers=headers, stream=_Stream(answer))


@dataclass
class Topics:
    """Takes records; `before` is called with each batch and may raise, as a crash would."""

    before: Callable[[Sequence[OutgoingRecord]], None] = lambda _: None
    records: list[OutgoingRecord] = field(default_factory=list)

    async def send_all(self, records: Sequence[OutgoingRecord]) -> None:
        self.before(records)
        self.records.extend(records)

    def values(self, topic: str) -> list[dict[str, Any]]:
        return [orjson.loads(record.value or b"") for record in self.records if record.topic == topic]


class Cursors(CursorStore):
    """In memory, with a number of failures to come."""

    def __init__(self, failures: int = 0) -> None:
        super().__init__(Redis())  # never connected
        self.failures = failures
        self.saved: dict[str, Cursor] = {}
        self.expiring: dict[str, int] = {}

    async def load(self, source: str) -> Cursor:
        self._fail()
        return self.saved.get(source, Cursor())

    async def save(self, source: str, cursor: Cursor) -> None:
        self._fail()
        self.saved[source] = cursor

    async def expire(self, source: str, seconds: int) -> None:
        self.expiring[source] = seconds

    async def rewind(self, source: str) -> None:
        self._fail()
        self.saved[source] = Cursor(server_day=self.saved.get(source, Cursor()).server_day, again=True)

    def _fail(self) -> None:
        if self.failures:
            self.failures -= 1
            raise TransientError("Redis is away")


@dataclass
class Days:
    """The days that were reported."""

    completed: list[tuple[date, int]] = field(default_factory=list)

    def day_completed(self, day: date, events: int, acknowledged: int) -> None:
        self.completed.append((day, events))


def intake_of(source: Source, topics: Topics, stop: asyncio.Event, *, max_refused_share: float = 0.5) -> Intake:
    """Every reading of the clock is a millisecond later."""
    ticks = iter(range(10**9))
    client = httpx.AsyncClient(transport=httpx.MockTransport(source.handle), base_url="http://source")
    return Intake(
        SimtomSource(client, generator="bnpl", batch_lines=20),
        Delivery(topics, max_refused_share=max_refused_share),
        scope="profile",
        limits=Limits(),
        now=lambda: NOW + timedelta(milliseconds=next(ticks)),
        stop=stop,
        backoff=Backoff(first_s=0.001, longest_s=0.002),
    )
