from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from datetime import date
from typing import Any

import pytest

from services.ingestor.cursor import SourceChanged
from services.ingestor.history import HistoryIngest, Range
from services.ingestor.stopping import Stopped
from shared.kafka.producer import OutgoingRecord
from tests.unit.ingestor import recorded
from tests.unit.ingestor.loop_fakes import Answer, Cursors, Days, Source, Topics, intake_of

EVENTS = [line.raw + b"\n\n" for line in recorded.lines("history-4-days")[::12]]
"""Every twelfth event of four days: fewer, of the same kind."""
FOUR_DAYS = Range(date(2026, 6, 1), date(2026, 6, 4), 1200, 7)
SOURCE = "simtom/bnpl/2026-06-01.7"
BY_DAY = [110, 109, 80, 103]


class Crash(Exception):
    """Stands for kill -9: nothing after it is sent or saved."""


def crash_in_batch(number: int) -> Any:
    batches = iter(range(10**6))

    def before(_: Sequence[OutgoingRecord]) -> None:
        if next(batches) == number:
            raise Crash

    return before


async def run_history(
    *answers: Answer,
    days: Range = FOUR_DAYS,
    topics: Topics | None = None,
    cursors: Cursors | None = None,
    again: bool = False,
    first_read: date | None = None,
) -> tuple[Source, Topics, Cursors, Days]:
    stop = asyncio.Event()
    source, topics, cursors, reported = Source(*answers, stop=stop), topics or Topics(), cursors or Cursors(), Days()
    ingest = HistoryIngest(intake_of(source, topics, stop), cursors, reported, generator="bnpl")
    await ingest.run(days, again=again, first_read=first_read)
    return source, topics, cursors, reported


def bodies_of(topics: Topics) -> dict[str, bytes | None]:
    return {
        dict(record.headers)["ce_id"].decode(): record.value
        for record in topics.records
        if record.topic == "bnpl-transactions"
    }


def event_ids(topics: Topics) -> Counter[str]:
    return Counter(value["event_id"] for value in topics.values("bnpl-transactions"))


async def test_a_range_is_brought_whole_and_reported_by_day() -> None:
    source, topics, cursors, reported = await run_history(Answer(EVENTS))
    assert source.requests == [
        {"start_date": "2026-06-01", "end_date": "2026-06-04", "base_daily_volume": 1200, "seed": 7}
    ]
    assert set(event_ids(topics).values()) == {1}
    assert len(event_ids(topics)) == len(topics.values("bnpl-outcomes")) == 402
    assert reported.completed == [(date(2026, 6, day + 1), count) for day, count in enumerate(BY_DAY)]
    cursor = cursors.saved[SOURCE]
    assert (cursor.completed_day, cursor.acknowledged) == (date(2026, 6, 4), 402)


@pytest.mark.parametrize("batch", [0, 3, 6, 7, 12, 20])
async def test_a_killed_run_is_resumed_with_nothing_missing_and_an_exact_count(batch: int) -> None:
    topics, cursors = Topics(before=crash_in_batch(batch)), Cursors()
    with pytest.raises(Crash):
        await run_history(Answer(EVENTS), topics=topics, cursors=cursors)
    stored = cursors.saved.get(SOURCE)
    done_before = 0 if stored is None or stored.completed_day is None else stored.completed_events
    sent_before = len(topics.values("bnpl-transactions"))
    assert (stored.acknowledged if stored else 0) == sent_before
    topics.before = lambda _: None
    _, topics, cursors, _ = await run_history(Answer(EVENTS), topics=topics, cursors=cursors)
    assert len(event_ids(topics)) == 402
    assert cursors.saved[SOURCE].acknowledged == 402
    # The days that were done are not sent again, the one in hand is.
    assert sum(event_ids(topics).values()) == 402 + sent_before - done_before


async def test_what_is_sent_again_has_the_same_bytes() -> None:
    topics = Topics(before=crash_in_batch(8))
    with pytest.raises(Crash):
        await run_history(Answer(EVENTS), topics=topics)
    first = {record.value for record in topics.records}
    _, again, _, _ = await run_history(Answer(EVENTS))
    assert first <= {record.value for record in again.records}


async def test_a_run_that_is_resumed_on_another_day_sends_the_same_bytes_again() -> None:
    """The source draws a sign-up as so many days before the day on which it is asked: the tenure that it sends for an
    event is the same on every day."""
    topics, cursors = Topics(before=crash_in_batch(8)), Cursors()
    with pytest.raises(Crash):
        await run_history(Answer(EVENTS), topics=topics, cursors=cursors)
    topics.before = lambda _: None
    await run_history(Answer(EVENTS, date="Thu, 26 Nov 2026 08:00:00 GMT"), topics=topics, cursors=cursors)
    bodies: dict[str, set[bytes | None]] = {}
    for record in topics.records:
        if record.topic == "bnpl-transactions":
            bodies.setdefault(dict(record.headers)["ce_id"].decode(), set()).add(record.value)
    assert len(bodies) == 402
    assert sum(event_ids(topics).values()) > 402
    assert {len(found) for found in bodies.values()} == {1}


async def test_a_stream_that_breaks_is_asked_for_again_and_only_the_day_in_hand_comes_twice() -> None:
    broken = Answer([*EVENTS[:150], EVENTS[150][:100]], breaks=True)
    source, topics, cursors, _ = await run_history(broken, Answer(EVENTS))
    assert source.requests[0] == source.requests[1]
    assert len(event_ids(topics)) == cursors.saved[SOURCE].acknowledged == 402
    assert sum(event_ids(topics).values()) == 402 + 150 - 110
    assert [letter["offset"] for letter in topics.values("dead-letters")] == [150]


async def test_a_stream_that_ends_too_early_is_asked_for_again() -> None:
    source, topics, cursors, _ = await run_history(Answer(EVENTS[:200]), Answer(EVENTS))
    assert len(source.requests) == 2
    assert len(event_ids(topics)) == cursors.saved[SOURCE].acknowledged == 402


async def test_last_days_without_events_are_believed_the_second_time() -> None:
    days = Range(date(2026, 6, 1), date(2026, 6, 9), 1200, 7)
    source, topics, cursors, _ = await run_history(Answer(EVENTS), Answer(EVENTS), days=days)
    assert len(source.requests) == 2
    assert len(event_ids(topics)) == 402
    assert cursors.saved[SOURCE].completed_day == date(2026, 6, 9)


@pytest.mark.parametrize("kept", [0, 350, 401], ids=["nothing", "a part of the last day", "all but one"])
async def test_the_end_of_an_answer_that_ends_with_its_connection_is_believed_the_second_time(kept: int) -> None:
    """A proxy may have closed it, whose own source died."""
    source, topics, cursors, _ = await run_history(
        Answer(EVENTS[:kept], framing=""), Answer(EVENTS, framing=""), Answer(EVENTS, framing="")
    )
    assert len(source.requests) == 3
    assert len(event_ids(topics)) == cursors.saved[SOURCE].acknowledged == 402


async def test_a_single_day_without_a_line_is_believed_the_second_time() -> None:
    day = Range(date(2026, 6, 1), date(2026, 6, 1), 1200, 7)
    source, topics, cursors, _ = await run_history(Answer(), Answer(EVENTS[:110]), days=day)
    assert len(source.requests) == 2
    assert len(event_ids(topics)) == cursors.saved[SOURCE].acknowledged == 110


async def test_an_answer_that_ends_within_a_line_was_cut_short() -> None:
    """However often it is cut there."""
    cut = [Answer([*EVENTS[:390], EVENTS[390][:100]]) for _ in range(3)]
    source, topics, cursors, _ = await run_history(*cut, Answer(EVENTS))
    assert len(source.requests) == 4
    assert len(event_ids(topics)) == cursors.saved[SOURCE].acknowledged == 402


async def test_a_finished_range_can_be_brought_once_more_with_the_same_bytes() -> None:
    _, first, cursors, _ = await run_history(Answer(EVENTS))
    later = Answer(EVENTS, date="Thu, 26 Nov 2026 08:00:00 GMT")
    _, again, cursors, _ = await run_history(later, cursors=cursors, again=True)
    assert bodies_of(again) == bodies_of(first)
    assert cursors.saved[SOURCE].acknowledged == 402


async def test_without_its_cursor_a_run_can_be_told_when_it_was_read_first() -> None:
    _, first, _, _ = await run_history(Answer(EVENTS))
    later = Answer(EVENTS, date="Thu, 26 Nov 2026 08:00:00 GMT")
    _, other, _, _ = await run_history(later)
    assert bodies_of(other) != bodies_of(first)
    later = Answer(EVENTS, date="Thu, 26 Nov 2026 08:00:00 GMT")
    _, again, _, _ = await run_history(later, first_read=date(2026, 11, 23))
    assert bodies_of(again) == bodies_of(first)


async def test_a_finished_range_is_not_asked_for_again() -> None:
    _, _, cursors, _ = await run_history(Answer(EVENTS))
    source, topics, _, _ = await run_history(cursors=cursors)
    assert source.requests == []
    assert topics.records == []


async def test_other_people_under_the_same_run_are_noticed_before_they_mix() -> None:
    topics, cursors = Topics(before=crash_in_batch(12)), Cursors()
    with pytest.raises(Crash):
        await run_history(Answer(EVENTS), topics=topics, cursors=cursors)
    topics = Topics()
    with pytest.raises(SourceChanged):
        await run_history(Answer(EVENTS[1:]), topics=topics, cursors=cursors)
    assert topics.records == []


async def test_the_cursor_waits_for_redis_and_no_day_is_skipped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("services.ingestor.history.PAUSE_S", 0.001)
    _, topics, cursors, _ = await run_history(Answer(EVENTS), cursors=Cursors(failures=20))
    assert len(event_ids(topics)) == cursors.saved[SOURCE].acknowledged == 402


async def test_a_stop_leaves_at_once_with_the_cursor_at_what_is_acknowledged() -> None:
    stop = asyncio.Event()
    topics, cursors = Topics(), Cursors()
    topics.before = lambda _: stop.set() if len(topics.records) > 300 else None
    intake = intake_of(Source(Answer(EVENTS), stop=stop), topics, stop)
    with pytest.raises(Stopped):
        await HistoryIngest(intake, cursors, Days(), generator="bnpl").run(FOUR_DAYS)
    assert cursors.saved[SOURCE].acknowledged == len(topics.values("bnpl-transactions")) < 402
