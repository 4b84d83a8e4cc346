"""A history into files instead of topics, for a bulk load: in the place of the producer and of the cursor in Redis.

A day is sealed when the cursor passes it. Where the reading breaks off, the day in hand is let go, and comes again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

import msgspec

from services.ingestor.cursor import Cursor
from shared.archive import ArchivedRecord, RunArchive
from shared.kafka.producer import OutgoingRecord


class ArchiveWriter:
    """`Sender` and `Cursors` in one: what is sent belongs to the day that the cursor is in."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._run: RunArchive | None = None
        self._sealed: Cursor = Cursor()

    async def send_all(self, records: Sequence[OutgoingRecord]) -> None:
        self._of_the_run().add([_archived(record) for record in records])

    async def load(self, source: str) -> Cursor:
        self._run = RunArchive(self._folder, source)
        self._sealed = Cursor.of(await asyncio.to_thread(self._run.state))
        return self._sealed

    async def save(self, source: str, cursor: Cursor) -> None:
        """Only a completed day is worth keeping: what is known within a day is known again when it comes again."""
        run = self._of_the_run()
        if cursor.completed_day is not None and cursor.completed_day != self._sealed.completed_day:
            await asyncio.to_thread(run.seal, cursor.completed_day.isoformat(), cursor.fields())
            self._sealed = cursor
        elif self._sealed == Cursor():
            await asyncio.to_thread(run.begin, cursor.fields())
            self._sealed = cursor

    async def rewind(self, source: str) -> None:
        """Settings refuse it: days in files are done once, and a folder is begun anew by giving another one."""
        raise NotImplementedError(source)

    def _of_the_run(self) -> RunArchive:
        if self._run is None:
            raise AssertionError("a reading begins with its cursor")
        return self._run


def _archived(record: OutgoingRecord) -> ArchivedRecord:
    return ArchivedRecord(
        topic=record.topic,
        timestamp_ms=record.timestamp_ms or 0,
        key=None if record.key is None else record.key.decode(),
        headers=[(name, content.decode()) for name, content in record.headers],
        value=msgspec.Raw(record.value or b"null"),
    )
