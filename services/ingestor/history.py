"""The history loop: a range of days, brought whole onto Kafka (or into files), however often it is interrupted."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from datetime import date
from typing import Protocol, TypeVar

import structlog

from services.ingestor import metrics
from services.ingestor.cursor import Cursor, DayTracker
from services.ingestor.intake import Intake, Results, Session
from services.ingestor.pipeline import Accepted, Refused
from services.ingestor.simtom import Run
from services.ingestor.source import SourceBroken, history_body
from services.ingestor.stopping import pause
from shared.kafka.errors import TransientError

log = structlog.get_logger()

T = TypeVar("T")

PAUSE_S = 1.0


class Cursors(Protocol):
    """Where runs have come, kept. Raises TransientError where that is away."""

    async def load(self, source: str) -> Cursor: ...
    async def save(self, source: str, cursor: Cursor) -> None: ...
    async def rewind(self, source: str) -> None:
        """To the beginning; when the run was first read stays known."""


class Topics(Protocol):
    """What has been delivered, as it stands there. Raises TransientError where the brokers are away."""

    async def look(self, source: str, *, whole: bool) -> None:
        """Send nothing from here on that is there already. Raises BeginningGone (`whole`: nothing may be missing of
        what ever was there)."""


class Progress(Protocol):
    """Told of each day that is wholly delivered."""

    def day_completed(self, day: date, events: int, acknowledged: int) -> None: ...


@dataclass(frozen=True, slots=True)
class Range:
    """Days, both included, with their mean number of events and the seed that makes them repeatable."""

    start: date
    end: date
    daily: int
    seed: int


class HistoryIngest:
    """Delivers a range of days: every event at least once, the cursor moving by completed days.

    The source can only be asked for the whole range again. The days that are done are passed over then; the day that
    was in hand is sent again, under the same event ids. Where the cursor says nothing (a first reading, one that is to
    be made again, or one whose cursor was lost), what the topics hold of it is passed over event by event.
    """

    def __init__(
        self, intake: Intake, cursors: Cursors, progress: Progress, topics: Topics | None = None, *, generator: str
    ) -> None:
        """`topics`: None where it isn't delivered to any."""
        self._intake = intake
        self._cursors = cursors
        self._progress = progress
        self._topics = topics
        self._generator = generator

    async def run(self, days: Range, *, again: bool = False, first_read: date | None = None) -> None:
        """Read the range to its end. `again`: also the days that are done. `first_read`: the source's day when the run
        was read first, where the cursor that holds it is lost.

        Raises Stopped, SourceRefused, SourceChanged, TooManyRefused, and BeginningGone where it is to be read `again`
        and retention has taken some of the topics.
        """
        run = Run.history(self._generator, days.start, days.seed)
        body = history_body(days.start, days.end, days.daily, days.seed)
        lines_before: int | None = None
        if again:
            await self._look(run, whole=True)
            await self._patiently(lambda: self._cursors.rewind(run.source))
        looked = again
        while True:
            # Each reading begins with what is kept: of what isn't, nothing is known to have been delivered.
            cursor = await self._load(run)
            # A first reading, or one whose cursor was lost, perhaps just now; one that is to be made again, by this
            # call or by one that didn't come to its end.
            if cursor.server_day is None or ((cursor.again or cursor.completed_day is None) and not looked):
                await self._look(run, whole=False)
                looked = True
            tracker = DayTracker(cursor, days.start, days.end)
            if tracker.is_finished:
                log.info("history_complete", source=run.source, acknowledged=cursor.acknowledged)
                return
            try:
                async with self._intake.open(run, body) as session:
                    session.count_from(await self._first_server_day(run, tracker, session, first_read))
                    lines, ended = await self._read(session, run, tracker)
                    whole = ended and session.delimited
                # A stream cut short looks like a last day without events: two equal answers tell them apart, but for
                # those that end within a line.
                if (whole and lines and tracker.day == days.end) or (ended and lines == lines_before):
                    await self._finish(run, tracker)
                else:
                    lines_before = lines
                    await self._intake.after_end(run, lines)
            except SourceBroken as error:
                await self._intake.after_break(error, run)

    async def _read(self, session: Session, run: Run, tracker: DayTracker) -> tuple[int, bool]:
        """How many lines came, and whether each of them came to its end."""
        lines, ended = 0, True
        while results := await session.next_batch():
            lines += len(results)
            ended = ended and all(result.line.ended for result in results)
            pending: list[Accepted | Refused] = []
            for result in results:
                if isinstance(result, Accepted) and tracker.begins_new_day(result.day):
                    await self._acknowledge(pending, session, run, tracker)
                    pending = []
                    await self._begin_day(result.day, run, tracker)
                if not tracker.is_passed_over:
                    pending.append(result)
                elif isinstance(result, Accepted):
                    tracker.add(result.event_id)
            await self._acknowledge(pending, session, run, tracker)
        return lines, ended

    async def _first_server_day(self, run: Run, tracker: DayTracker, session: Session, first_read: date | None) -> date:
        """On record before anything of the run is on Kafka."""
        day = tracker.cursor.server_day
        if day is None:
            day = first_read or session.server_day
            log.info("history_begun", source=run.source, first_read=day.isoformat())
            tracker.cursor = replace(tracker.cursor, server_day=day)
            await self._save(run, tracker.cursor)
        return day

    async def _acknowledge(self, pending: Results, session: Session, run: Run, tracker: DayTracker) -> None:
        if not pending:
            return
        await session.deliver(pending)
        for result in pending:
            if isinstance(result, Accepted):
                tracker.add(result.event_id)
        await self._save(run, tracker.acknowledged())

    async def _begin_day(self, day: date, run: Run, tracker: DayTracker) -> None:
        completed, events = tracker.day, tracker.events_of_day
        cursor = tracker.advance(day)
        if cursor is not None:
            await self._save(run, cursor)
            self._report(completed, events, cursor)

    async def _finish(self, run: Run, tracker: DayTracker) -> None:
        completed, events = tracker.day, tracker.events_of_day
        cursor = tracker.finish()
        await self._save(run, cursor)
        self._report(completed, events, cursor)

    def _report(self, day: date, events: int, cursor: Cursor) -> None:
        metrics.COMPLETED_DAYS.inc()
        log.info("day_completed", day=day.isoformat(), events=events, acknowledged=cursor.acknowledged)
        self._progress.day_completed(day, events, cursor.acknowledged)

    async def _look(self, run: Run, *, whole: bool) -> None:
        if (topics := self._topics) is not None:
            await self._patiently(lambda: topics.look(run.source, whole=whole))

    async def _load(self, run: Run) -> Cursor:
        return await self._patiently(lambda: self._cursors.load(run.source))

    async def _save(self, run: Run, cursor: Cursor) -> None:
        await self._patiently(lambda: self._cursors.save(run.source, cursor))

    async def _patiently(self, ask: Callable[[], Awaitable[T]]) -> T:
        while True:
            try:
                return await ask()
            except TransientError as error:
                log.warning("waiting_for_dependency", error=str(error))
                await pause(self._intake.stop, PAUSE_S)
