"""What the live and the history loop share: an open stream, mapped line by line, and a batch brought to Kafka."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import date, datetime
from typing import Any

import structlog

from services.ingestor import metrics
from services.ingestor.delivery import Delivery, TooManyRefused
from services.ingestor.lines import Line
from services.ingestor.pipeline import Accepted, Reading, Refused, read_line
from services.ingestor.simtom import CustomerScope, Run
from services.ingestor.source import ANSWER_SECONDS, Backoff, LineStream, SimtomSource, SourceBroken
from services.ingestor.stopping import Stopped, pause, unless_stopped
from services.ingestor.tracing import receiving
from shared.contracts.rejections import MALFORMED, Rejection, RejectionReason
from shared.contracts.transactions import Limits
from shared.telemetry.tracing import OFF, Tracing

log = structlog.get_logger()

Results = Sequence[Accepted | Refused]

NO_LINE = -1
"""Number of the "line" that an error page is: it came where a stream should have begun."""


class Intake:
    """Opens streams of one source and delivers what they bring. Knows whether it is in order."""

    def __init__(
        self,
        source: SimtomSource,
        delivery: Delivery,
        *,
        scope: CustomerScope,
        limits: Limits,
        now: Callable[[], datetime],
        stop: asyncio.Event,
        backoff: Backoff | None = None,
        tracing: Tracing = OFF,
    ) -> None:
        self.stop = stop
        self.now = now
        self.tracing = tracing
        self._source = source
        self._delivery = delivery
        self._scope = scope
        self._limits = limits
        self._backoff = backoff or Backoff()
        self._page_sent = False
        self._connected = False
        self._given_up: str | None = None

    def ready(self) -> str | None:
        """None, or why no event gets through at the moment."""
        if self._given_up is not None:
            return self._given_up
        if self._delivery.waiting:
            return "the brokers don't acknowledge"
        return None if self._connected else "no stream from the source"

    @asynccontextmanager
    async def open(
        self, run: Run, body: dict[str, Any], *, silence_s: float = ANSWER_SECONDS
    ) -> AsyncIterator[Session]:
        """A stream of `run`. Raises SourceBroken, SourceRefused, Stopped."""
        async with self._source.open(body, self.stop, silence_s=silence_s) as stream:
            self._connected = True
            metrics.CONNECTED.set(1)
            log.info("stream_open", source=run.source)
            try:
                yield Session(self, run, stream)
            finally:
                self._connected = False
                metrics.CONNECTED.set(0)

    async def deliver(self, results: Results, reading: Reading) -> None:
        """Return once all are acknowledged. Raises Stopped, TooManyRefused."""
        if any(isinstance(result, Accepted) for result in results):
            self._page_sent = False
            self._backoff.reset()
        await self._delivery.deliver(results, reading, self.stop)

    async def after_break(self, error: SourceBroken, run: Run) -> None:
        """Put an error page into a dead letter, then wait as long as the back-off says. Raises Stopped."""
        log.warning("source_broken", source=run.source, error=str(error))
        metrics.CONNECTIONS.labels("broken").inc()
        if error.page is not None and not self._page_sent:
            # One letter for an outage: each further attempt would only bring the same page again.
            self._page_sent = True
            rejection = Rejection(RejectionReason.SYNTAX, "", f"a stream of events; {error}", status=MALFORMED)
            page = Refused(Line(NO_LINE, error.page), rejection)
            now = self.now()
            await self.deliver([page], self.reading(run, now.date(), now))
        await self.wait()

    async def after_end(self, run: Run, lines: int) -> None:
        """A stream ended that wasn't meant to. Raises Stopped."""
        log.warning("stream_ended_early", source=run.source, lines=lines)
        metrics.CONNECTIONS.labels("closed").inc()
        await self.wait()

    async def give_up(self, error: TooManyRefused) -> None:
        """Read the source no more, and say so for as long as the process lives. Raises Stopped."""
        log.error("source_no_longer_read", error=str(error))
        metrics.SOURCE_STOPPED.set(1)
        self._given_up = str(error)
        await self.stop.wait()
        raise Stopped

    async def wait(self) -> None:
        """As long as the back-off says. Raises Stopped."""
        await pause(self.stop, self._backoff.next_pause())

    def reading(self, run: Run, server_day: date, received: datetime) -> Reading:
        """What the mapping of the lines that are in hand now has to know."""
        received_us = int(received.timestamp() * 1_000_000)
        return Reading(run, self._scope, self._limits, server_day, received_us)


class Session:
    """One open stream."""

    def __init__(self, intake: Intake, run: Run, stream: LineStream) -> None:
        self._intake = intake
        self._run = run
        self._stream = stream
        self._server_day: date | None = None

    @property
    def server_day(self) -> date:
        """The day by the source's own clock."""
        return self._stream.clock.day()

    @property
    def delimited(self) -> bool:
        """A stream of this kind that is cut off breaks; it doesn't just end."""
        return self._stream.delimited

    def count_from(self, day: date) -> None:
        """Count tenures from this day, in place of the source's present one."""
        self._server_day = day

    async def next_batch(self, at_most: int | None = None) -> Results:
        """What has arrived, mapped; empty at the end of the stream. Raises SourceBroken, Stopped."""
        if self._stream.clock.jumped():
            raise SourceBroken("clock: ours was set, or this machine slept: the source has to say its own again")
        lines = await unless_stopped(self._intake.stop, self._stream.next_batch())
        reading = self._reading()
        return [read_line(line, reading) for line in lines[:at_most]]

    async def deliver(self, results: Results) -> None:
        """Return once all are acknowledged. Raises Stopped, TooManyRefused."""
        waited_s = time.perf_counter() - self._stream.batch_arrived_s
        arrived_ns = time.time_ns() - int(waited_s * 1e9)
        with receiving(results, self._intake.tracing, source=self._run.source, arrived_ns=arrived_ns) as traced:
            # As of now, not of their arrival: what waited for the brokers was made later than the first of it arrived.
            await self._intake.deliver(traced, self._reading())
        metrics.LINE_SECONDS.observe(time.perf_counter() - self._stream.batch_arrived_s)

    def _reading(self) -> Reading:
        clock = self._stream.clock
        day = self._server_day or clock.day()
        ours = self._intake.now()
        # What came as the machine woke up is judged by the clock that it woke up with.
        return self._intake.reading(self._run, day, ours if clock.jumped() else clock.corrected(ours))
