"""The HTTP side: ask for a stream, read its lines no faster than they are taken, notice when it breaks.

SourceBroken     the stream ended badly or didn't begin: asked for again after a pause
  .page            the body where the answer was no stream (an error page), as one overlong "line"
SourceRefused    the source says that the request itself is wrong: asking again would change nothing
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, date, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any

import httpx

from services.ingestor.lines import Line, LineSplitter
from services.ingestor.stopping import unless_stopped
from shared.contracts.dead_letters import MAX_VALUE_BYTES

CONNECT_SECONDS = 10.0
ANSWER_SECONDS = 60.0
"""A burst blocks the server's loop for more than a second, and a day of history is drawn before it is sent."""

GAPS_OF_SILENCE = 20
"""Arrivals are random: a gap of 20 mean ones has a chance of e^-20. Beyond it the connection is taken for half-open."""

FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.5, 30.0


class SourceBroken(Exception):
    """The stream is gone. What was read of it stays good."""

    def __init__(self, message: str, page: bytes | None = None) -> None:
        super().__init__(message)
        self.page = page


class SourceRefused(Exception):
    """404 for the generator, 422 for the body: a bad setting."""


class Backoff:
    """Pauses that double up to a cap, each drawn from its upper half, so that many clients don't come back at once."""

    def __init__(self, first_s: float = FIRST_PAUSE_S, longest_s: float = LONGEST_PAUSE_S) -> None:
        self._first = first_s
        self._longest = longest_s
        self._ceiling = first_s

    def next_pause(self) -> float:
        """Seconds to wait before the next attempt."""
        ceiling = self._ceiling
        self._ceiling = min(ceiling * 2, self._longest)
        return ceiling * random.uniform(0.5, 1.0)

    def reset(self) -> None:
        """The source has answered well: the next failure is a new one."""
        self._ceiling = self._first


def live_body(rate: float, max_events: int) -> dict[str, Any]:
    """The request for a live stream. No seed: it would freeze the labels' noise and the arrival times."""
    body: dict[str, Any] = {"rate_per_second": rate}
    if max_events:
        body["max_records"] = max_events
    return body


def history_body(start: date | None, end: date | None, daily: int, seed: int) -> dict[str, Any]:
    """The request for a range of days. Raises ValueError without both dates: the source would stream live instead."""
    if start is None or end is None:
        raise ValueError("a history needs a first and a last day")
    return {
        "start_date": start.isoformat(),
        "end_date": end.isoformat(),
        "base_daily_volume": daily,
        "seed": seed,
    }


class LineStream:
    """The lines of one answer, read ahead by at most one batch: with that full, the socket is left unread."""

    def __init__(
        self, chunks: AsyncIterator[bytes], *, batch_lines: int, clock: ServerClock, delimited: bool = True
    ) -> None:
        """`delimited`: the answer says where it ends, so that one that was cut off breaks."""
        self._chunks = chunks
        self._batch_lines = batch_lines
        self._splitter = LineSplitter()
        self._lines: deque[Line] = deque()
        self._arrived = asyncio.Event()
        self._room = asyncio.Event()
        self._ended = False
        self._reading = asyncio.create_task(self._read())
        self.clock = clock
        self.delimited = delimited
        self._oldest_s = 0.0
        self.batch_arrived_s = 0.0
        """When the oldest line of the last batch arrived (`time.perf_counter`)."""

    async def next_batch(self) -> list[Line]:
        """What has arrived, at once; waits only where nothing has. Empty: the stream has come to its end.

        Raises SourceBroken once all lines that arrived before the break were given out.
        """
        while not self._lines and not self._ended:
            self._arrived.clear()
            await self._arrived.wait()
        batch = [self._lines.popleft() for _ in range(min(len(self._lines), self._batch_lines))]
        self.batch_arrived_s = self._oldest_s
        self._room.set()
        if not batch:
            try:
                await self._reading
            except (httpx.HTTPError, OSError) as error:
                raise SourceBroken(f"{type(error).__name__}: {error}") from error
        return batch

    async def close(self) -> None:
        self._reading.cancel()
        await asyncio.gather(self._reading, return_exceptions=True)

    async def _read(self) -> None:
        try:
            async for chunk in self._chunks:
                self._take(self._splitter.feed(chunk))
                while len(self._lines) >= self._batch_lines:
                    self._room.clear()
                    await self._room.wait()
        finally:
            rest = self._splitter.finish()
            self._take([] if rest is None else [rest])
            self._ended = True
            self._arrived.set()

    def _take(self, lines: list[Line]) -> None:
        if lines:
            if not self._lines:
                self._oldest_s = time.perf_counter()
            self._lines.extend(lines)
            self._arrived.set()


CLOCK_TOLERANCE_S = 5.0
"""`Date` has whole seconds and was on its way for a moment. Clocks that differ by more don't show the same time."""


class ServerClock:
    """The source's own clock, from the `Date` of its answer: it stamps the events, so it is what they are judged by."""

    def __init__(self, date_header: str | None) -> None:
        self._asked_s = time.monotonic()
        self._then = self._opened = datetime.now(UTC)
        self._known = False
        if date_header is not None:
            try:
                parsed = parsedate_to_datetime(date_header)
            except ValueError:
                return
            self._known = True
            self._then = parsed.replace(tzinfo=UTC) if parsed.tzinfo is None else parsed.astimezone(UTC)

    def day(self) -> date:
        """The tenure must not depend on our clock."""
        return self._now().date()

    def corrected(self, ours: datetime) -> datetime:
        """`ours`, the time by our clock, which is the finer one; the source's where ours shows another time."""
        theirs = self._now()
        differs = self._known and abs((theirs - ours).total_seconds()) > CLOCK_TOLERANCE_S
        return theirs if differs else ours

    def jumped(self) -> bool:
        """Whether our clock was set since the stream was opened, or the machine slept, which the monotonic clock knows
        nothing of. Then nobody knows what the source's clock shows, and it has to be asked again."""
        by_ours = (datetime.now(UTC) - self._opened).total_seconds()
        return abs(by_ours - (time.monotonic() - self._asked_s)) > CLOCK_TOLERANCE_S

    def _now(self) -> datetime:
        return self._then + timedelta(seconds=time.monotonic() - self._asked_s)


class SimtomSource:
    """One source. `open` gives a stream of lines as long as its context lasts."""

    def __init__(self, client: httpx.AsyncClient, *, generator: str, batch_lines: int) -> None:
        self._client = client
        self._path = f"/stream/{generator}"
        self._generator = generator
        self._batch_lines = batch_lines

    async def check(self) -> None:
        """Whether the source answers and knows the generator. Raises SourceBroken or SourceRefused."""
        try:
            answer = await self._client.get("/generators", timeout=CONNECT_SECONDS)
        except httpx.HTTPError as error:
            raise SourceBroken(f"{type(error).__name__}: {error}") from error
        if answer.status_code != httpx.codes.OK:
            raise SourceBroken(f"GET /generators answers {answer.status_code}")
        if f'"{self._generator}"' not in answer.text:
            raise SourceRefused(f"INGESTOR__GENERATOR: the source has no generator {self._generator!r}")

    @asynccontextmanager
    async def open(
        self, body: dict[str, Any], stop: asyncio.Event, *, silence_s: float = ANSWER_SECONDS
    ) -> AsyncIterator[LineStream]:
        """Ask for a stream. `silence_s`: after so many seconds without a byte it is taken for broken.

        Raises SourceBroken, SourceRefused, Stopped.
        """
        timeout = httpx.Timeout(CONNECT_SECONDS, read=max(ANSWER_SECONDS, silence_s))
        request = self._client.build_request("POST", self._path, json=body, timeout=timeout)
        try:
            answer = await unless_stopped(stop, self._client.send(request, stream=True))
            try:
                await _refuse_other_answers(answer)
                clock = ServerClock(answer.headers.get("date"))
                stream = LineStream(
                    answer.aiter_raw(), batch_lines=self._batch_lines, clock=clock, delimited=_is_delimited(answer)
                )
                try:
                    yield stream
                finally:
                    await stream.close()
            finally:
                await answer.aclose()
        except httpx.HTTPError as error:
            raise SourceBroken(f"{type(error).__name__}: {error}") from error


def silence_of(rate: float) -> float:
    """Seconds without an event after which a live stream of this rate (events/s) is taken for broken."""
    return GAPS_OF_SILENCE / rate


def _is_delimited(answer: httpx.Response) -> bool:
    """Otherwise it ends with its connection, whoever closed that: a proxy, for one, whose own source died."""
    chunked = "chunked" in answer.headers.get("transfer-encoding", "")
    return chunked or "content-length" in answer.headers or answer.http_version == "HTTP/2"


async def _refuse_other_answers(answer: httpx.Response) -> None:
    is_page = "html" in answer.headers.get("content-type", "")
    if answer.status_code == httpx.codes.OK and not is_page:
        return
    page = b""
    async for chunk in answer.aiter_raw():
        page += chunk
        if len(page) >= MAX_VALUE_BYTES:
            break
    if answer.status_code in (httpx.codes.NOT_FOUND, httpx.codes.UNPROCESSABLE_ENTITY) and not is_page:
        detail = page[:300].decode("utf-8", "replace")
        # The path alone: whoever names a user in the address names his password, too.
        raise SourceRefused(f"{answer.request.method} {answer.request.url.path} answers {answer.status_code}: {detail}")
    raise SourceBroken(f"the source answers {answer.status_code}, no stream", page[:MAX_VALUE_BYTES])
