"""A history into files: interrupted or not, the same days with the same records."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import date
from pathlib import Path

import pytest

from services.ingestor.archiving import ArchiveWriter
from services.ingestor.cursor import SourceChanged
from services.ingestor.history import HistoryIngest
from shared.archive import ArchivedRecord, days_of, runs_of
from shared.kafka.producer import OutgoingRecord
from tests.unit.ingestor.loop_fakes import Answer, Days, Source, intake_of
from tests.unit.ingestor.test_history import BY_DAY, EVENTS, FOUR_DAYS, Crash


class Breaking(ArchiveWriter):
    """Takes so many batches, then stands for a kill -9."""

    def __init__(self, folder: Path, batches: int) -> None:
        super().__init__(folder)
        self._left = batches

    async def send_all(self, records: Sequence[OutgoingRecord]) -> None:
        if not self._left:
            raise Crash
        self._left -= 1
        await super().send_all(records)


async def read(writer: ArchiveWriter, *answers: Answer) -> Days:
    stop = asyncio.Event()
    reported = Days()
    intake = intake_of(Source(*answers, stop=stop), writer, stop)  # type: ignore[arg-type]
    await HistoryIngest(intake, writer, reported, generator="bnpl").run(FOUR_DAYS)
    return reported


def days(folder: Path) -> dict[str, list[ArchivedRecord]]:
    (run,) = runs_of(folder)
    return {day.name: list(day.records()) for day in days_of(run)}


def bodies(folder: Path) -> dict[str, list[tuple[str, str | None, bytes]]]:
    """Without the moment at which each came in."""
    return {
        name: [(record.topic, record.key, bytes(record.value)) for record in of_day]
        for name, of_day in days(folder).items()
    }


async def test_each_day_is_a_file_of_what_topics_would_have_got(tmp_path: Path) -> None:
    reported = await read(ArchiveWriter(tmp_path), Answer(EVENTS))
    found = days(tmp_path)
    assert list(found) == [f"2026-06-0{day}" for day in (1, 2, 3, 4)]
    assert [len(of_day) for of_day in found.values()] == [2 * count for count in BY_DAY]
    assert reported.completed == [(date(2026, 6, day + 1), count) for day, count in enumerate(BY_DAY)]
    first = found["2026-06-01"][0]
    assert (first.topic, first.timestamp_ms > 0, dict(first.headers)["ce_specversion"]) == (
        "bnpl-transactions", True, "1.0",
    )  # fmt: skip


@pytest.mark.parametrize("batches", [0, 1, 7, 12])
async def test_a_reading_that_is_killed_goes_on_with_the_day_that_it_was_in(tmp_path: Path, batches: int) -> None:
    await read(ArchiveWriter(tmp_path / "whole"), Answer(EVENTS))
    with pytest.raises(Crash):
        await read(Breaking(tmp_path / "killed", batches), Answer(EVENTS))
    await read(ArchiveWriter(tmp_path / "killed"), Answer(EVENTS))
    assert bodies(tmp_path / "killed") == bodies(tmp_path / "whole")


async def test_a_stream_that_breaks_brings_nothing_twice(tmp_path: Path) -> None:
    await read(ArchiveWriter(tmp_path / "whole"), Answer(EVENTS))
    await read(ArchiveWriter(tmp_path / "broken"), Answer(EVENTS[:150], breaks=True), Answer(EVENTS))
    assert bodies(tmp_path / "broken") == bodies(tmp_path / "whole")


async def test_another_source_under_the_same_name_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Crash):
        await read(Breaking(tmp_path, 12), Answer(EVENTS))
    with pytest.raises(SourceChanged):
        await read(ArchiveWriter(tmp_path), Answer(EVENTS[1:]))
