"""How far a run has come: in Redis, moved only after acknowledgements, exact across a crash.

The source can't be asked to go on from somewhere, only to begin again with the same seed, which gives the same lines.
So what is kept is the last completed day, and a repeated stream is passed over up to its end. `acknowledged` is the
count of distinct events that are on Kafka. It stays exact without a list of ids: within the repeated stream, the
events of the day in hand come again in the same order, so after a crash the count is the larger of what was stored and
what has been acknowledged again; and a day's own ids are held in memory while it lasts. (An event that the source
repeated on a later day would count twice; it has never been seen to, and nothing but the count would notice.)
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from datetime import date, timedelta
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import RedisError

from shared.kafka.errors import TransientError


class SourceChanged(Exception):
    """A repeated request gave other events: to go on would mix two sets of people under one run's name."""


@dataclass(frozen=True, slots=True)
class Cursor:
    """What is stored of one source; the fields of its Redis hash."""

    completed_day: date | None = None
    completed_events: int = 0
    """Distinct events of the completed days."""
    acknowledged: int = 0
    """`completed_events` and the acknowledged ones of the day in hand."""
    digest: str = ""
    """Over the event ids of all completed days, in order: tells whether a repeated stream is the same one."""
    server_day: date | None = None
    """The source's day when the run was begun, which tenures are counted from: the source draws them as so many days
    before the day it is asked, so counted from the day of a later reading the same event would have another body."""
    again: bool = False
    """The days are being read once more: of those that are not complete yet, the topics may hold any event."""

    @staticmethod
    def of(fields: Mapping[str, str]) -> Cursor:
        """From what `fields` gave; nothing is the beginning."""
        return Cursor(
            completed_day=_day(fields.get("completed_day")),
            completed_events=int(fields.get("completed_events", 0)),
            acknowledged=int(fields.get("acknowledged", 0)),
            digest=fields.get("digest", ""),
            server_day=_day(fields.get("server_day")),
            again=fields.get("again") == "1",
        )

    def fields(self) -> dict[str, str]:
        values = {
            "completed_events": str(self.completed_events),
            "acknowledged": str(self.acknowledged),
            "digest": self.digest,
            "again": str(int(self.again)),
        }
        if self.completed_day is not None:
            values["completed_day"] = self.completed_day.isoformat()
        if self.server_day is not None:
            values["server_day"] = self.server_day.isoformat()
        return values


PROGRESS = tuple(each.name for each in fields(Cursor) if each.name not in ("server_day", "again"))
"""What says how far a run has come."""


class CursorStore:
    """The hash `ingestor:<source>`. Every call raises TransientError while Redis is away."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    async def load(self, source: str) -> Cursor:
        try:
            stored = await self._redis.hgetall(f"ingestor:{source}")
        except (RedisError, OSError) as error:
            raise TransientError(f"Redis: {error!r}") from error
        return Cursor.of({_text(name): _text(value) for name, value in stored.items()})

    async def save(self, source: str, cursor: Cursor) -> None:
        """Absolute values in one command: saved twice, or after a missed save, it is still right."""
        try:
            await self._redis.hset(f"ingestor:{source}", mapping=dict[Any, Any](cursor.fields()))
        except (RedisError, OSError) as error:
            raise TransientError(f"Redis: {error!r}") from error

    async def expire(self, source: str, seconds: int) -> None:
        """Forget the source after so long, unless this is said again."""
        try:
            await self._redis.expire(f"ingestor:{source}", seconds)
        except (RedisError, OSError) as error:
            raise TransientError(f"Redis: {error!r}") from error

    async def rewind(self, source: str) -> None:
        """To the beginning of the run; the day that tenures are counted from stays."""
        try:
            await self._redis.hset(f"ingestor:{source}", "again", "1")
            await self._redis.hdel(f"ingestor:{source}", *PROGRESS)
        except (RedisError, OSError) as error:
            raise TransientError(f"Redis: {error!r}") from error


@dataclass
class DayTracker:
    """Follows one reading of a run's stream, from its first line. Pure.

    A line belongs to the latest day that was seen before or in it, so an event that comes late lies in the day in which
    it came, and the same line lies in the same day in every repetition.
    """

    cursor: Cursor
    first_day: date
    last_day: date
    day: date = field(init=False)
    _ids: dict[str, None] = field(init=False, default_factory=dict)  # an ordered set
    _seen: str = field(init=False, default="")

    def __post_init__(self) -> None:
        self.day = self.first_day

    @property
    def is_finished(self) -> bool:
        return self.cursor.completed_day is not None and self.cursor.completed_day >= self.last_day

    @property
    def is_passed_over(self) -> bool:
        """Whether the day in hand was completed by an earlier reading."""
        return self.cursor.completed_day is not None and self.day <= self.cursor.completed_day

    @property
    def events_of_day(self) -> int:
        return len(self._ids)

    def begins_new_day(self, event_day: date) -> bool:
        """Whether an event of this day ends the day in hand. Times beyond the range that was asked for don't."""
        return self.day < event_day <= self.last_day

    def add(self, event_id: str) -> None:
        """An event of the day in hand was acknowledged, or passed over."""
        self._ids[event_id] = None

    def acknowledged(self) -> Cursor:
        """The cursor with the acknowledged events of the day in hand."""
        if not self.is_passed_over:
            count = self.cursor.completed_events + len(self._ids)
            self.cursor = replace(self.cursor, acknowledged=max(self.cursor.acknowledged, count))
        return self.cursor

    def advance(self, event_day: date) -> Cursor | None:
        """Close the day in hand and begin `event_day`. The cursor to be saved, or None where a day was passed over.

        Raises SourceChanged where the days passed over, now that all were seen, aren't the ones that were completed.
        """
        saved = self._close(completed=event_day - timedelta(days=1))
        self.day, self._ids = event_day, {}
        return saved

    def finish(self) -> Cursor:
        """The stream came to its end: every day of the range is complete."""
        self._close(completed=self.last_day)
        self.cursor = replace(self.cursor, completed_day=self.last_day, again=False)
        return self.cursor

    def _close(self, *, completed: date) -> Cursor | None:
        known_until, passed_over = self.cursor.completed_day, self.is_passed_over
        count = self.cursor.completed_events + len(self._ids)
        self._seen = _chain(self._seen, self._ids)
        if not passed_over:
            self.cursor = replace(
                self.cursor,
                completed_day=completed,
                completed_events=count,
                acknowledged=count,
                digest=self._seen,
            )
            return self.cursor
        if known_until is not None and completed >= known_until and self._seen != self.cursor.digest:
            raise SourceChanged(
                f"the days up to {known_until} came with other events than before: was another client asking the "
                "source at the same time, or were the limits of the input changed?"
            )
        return None


def _day(text: str | None) -> date | None:
    return None if text is None else date.fromisoformat(text)


def _chain(digest: str, event_ids: Iterable[str]) -> str:
    state = hashlib.blake2b(digest.encode(), digest_size=16)
    for event_id in event_ids:
        state.update(event_id.encode())
    return state.hexdigest()


def _text(value: bytes | str) -> str:
    return value if isinstance(value, str) else value.decode()
