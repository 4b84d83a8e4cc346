"""The live loop: one stream after another, each a run of its own."""

from __future__ import annotations

import asyncio
import time
from datetime import datetime, timedelta

import structlog

from services.ingestor.cursor import Cursor, CursorStore
from services.ingestor.delivery import TooManyRefused
from services.ingestor.intake import Intake, Session
from services.ingestor.pipeline import Accepted
from services.ingestor.simtom import Run
from services.ingestor.source import SourceBroken, live_body, silence_of
from shared.kafka.errors import TransientError
from shared.pace import Pace

log = structlog.get_logger()

PACE_S = 0.008
"""Between the beginnings of two batches, at least. A batch costs a request to the brokers, one to Redis and a fetch of
every reader, whether it holds one line or ten: at hundreds of lines a second they would cost more than the lines."""

LONGEST_PACE_S = 0.06
"""Where the processor is what everybody waits for (shared/pace.py)."""

SAVE_SECONDS = 0.2
"""For one save of the count; a Redis that is slower holds up the events behind it."""

SAVE_PAUSE_S = 5.0
"""After a save that failed; the next one holds what this one missed."""


KEPT_SECONDS = 7 * 86_400
"""A live run's count, after its last event: as long as somebody may audit it. Each new stream is a run of its own."""


class LiveIngest:
    """Brings live events onto Kafka. A stream that ends or breaks is followed by a new run: its ids start again.

    Guarantee: what was read is on its topic before more is read. What lay in the socket when a stream broke is lost:
    the source keeps nothing.
    """

    def __init__(self, intake: Intake, cursors: CursorStore, *, generator: str) -> None:
        self._intake = intake
        self._cursors = cursors
        self._generator = generator
        self._last_start: datetime | None = None
        self._no_save_before_s = 0.0
        self._kept, self._kept_before_s = "", 0.0
        """The run whose count is kept for a while, and until when that needs not be said again."""
        self.lines = 0
        """Whole lines acknowledged, refused ones included."""

    async def run(self, rate: float, max_events: int) -> None:
        """Read until `max_events` lines (0: without end) are on Kafka.

        Raises Stopped, SourceRefused. With too many refused lines the source is left, and the process stays.
        """
        while not self._is_done(max_events):
            run = self._new_run()
            before = self.lines
            body = live_body(rate, max_events - self.lines if max_events else 0)
            try:
                async with self._intake.open(run, body, silence_s=silence_of(rate)) as session:
                    await self._read(session, run, max_events)
                if not self._is_done(max_events):
                    await self._intake.after_end(run, self.lines - before)
            except SourceBroken as error:
                await self._intake.after_break(error, run)
            except TooManyRefused as error:
                await self._intake.give_up(error)
        log.info("live_finished", lines=self.lines)

    async def _read(self, session: Session, run: Run, max_events: int) -> None:
        acknowledged, pace = 0, Pace(PACE_S, LONGEST_PACE_S)
        while not self._is_done(max_events):
            await asyncio.sleep(pace.rest_s())
            results = await session.next_batch(max_events - self.lines if max_events else None)
            pace.begin()
            if not results:
                return
            await session.deliver(results)
            self.lines += sum(result.line.ended for result in results)
            acknowledged += sum(isinstance(result, Accepted) for result in results)
            await self._save(run, acknowledged)

    def _is_done(self, max_events: int) -> bool:
        return 0 < max_events <= self.lines

    def _new_run(self) -> Run:
        # A name has whole seconds, and two runs must not share one.
        start = self._intake.now().replace(microsecond=0)
        if self._last_start is not None:
            start = max(start, self._last_start + timedelta(seconds=1))
        self._last_start = start
        return Run.live(self._generator, start)

    async def _save(self, run: Run, acknowledged: int) -> None:
        """A live run can't be resumed, so nothing hangs on its count, and no event waits for Redis."""
        if time.monotonic() < self._no_save_before_s:
            return
        try:
            async with asyncio.timeout(SAVE_SECONDS):
                await self._cursors.save(run.source, Cursor(acknowledged=acknowledged))
                if time.monotonic() >= self._kept_before_s or run.source != self._kept:
                    await self._cursors.expire(run.source, KEPT_SECONDS)
                    self._kept, self._kept_before_s = run.source, time.monotonic() + KEPT_SECONDS / 24
        except (TransientError, TimeoutError) as error:
            self._no_save_before_s = time.monotonic() + SAVE_PAUSE_S
            log.warning("count_not_saved", error=repr(error), acknowledged=acknowledged)
