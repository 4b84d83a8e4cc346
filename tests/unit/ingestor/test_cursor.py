from __future__ import annotations

from collections.abc import Sequence
from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.ingestor.cursor import Cursor, DayTracker, SourceChanged

FIRST, LAST = date(2026, 6, 1), date(2026, 6, 4)
Event = tuple[date, str]


def june(day: int) -> date:
    return date(2026, 6, day)


def read(
    events: Sequence[Event], cursor: Cursor | None = None, *, crash_after: int | None = None
) -> tuple[Cursor, list[str]]:
    """One reading of a stream, as the history loop does it; `crash_after` so many sent events nothing more is saved."""
    saved = cursor or Cursor()
    tracker = DayTracker(saved, FIRST, LAST)
    sent: list[str] = []
    for day, event_id in events:
        if tracker.begins_new_day(day):
            saved = tracker.advance(day) or saved
        if not tracker.is_passed_over:
            if len(sent) == crash_after:
                return saved, sent
            sent.append(event_id)
        tracker.add(event_id)
        saved = tracker.acknowledged()
    return tracker.finish(), sent


STREAM: list[Event] = [
    (june(1), "a"), (june(1), "b"), (june(2), "c"), (june(1), "late"), (june(2), "d"), (june(2), "c"), (june(4), "e"),
]  # fmt: skip


def test_a_whole_reading_completes_the_last_day_and_counts_each_event_once() -> None:
    cursor, sent = read(STREAM)
    assert (cursor.completed_day, cursor.completed_events, cursor.acknowledged) == (LAST, 6, 6)
    assert sent == [event_id for _, event_id in STREAM]
    assert DayTracker(cursor, FIRST, LAST).is_finished


def test_completed_days_are_passed_over_and_the_day_in_hand_is_sent_again() -> None:
    cursor, sent = read(STREAM, crash_after=4)
    assert sent == ["a", "b", "c", "late"]
    assert (cursor.completed_day, cursor.completed_events, cursor.acknowledged) == (june(1), 2, 4)
    cursor, sent = read(STREAM, cursor)
    assert sent == ["c", "late", "d", "c", "e"]
    assert cursor.acknowledged == 6


def test_an_event_that_comes_late_lies_in_the_day_in_which_it_came() -> None:
    cursor, _ = read(STREAM, crash_after=3)
    assert cursor.completed_day == june(1)
    _, sent = read(STREAM, cursor)
    assert "late" in sent


def test_a_crash_does_not_make_the_count_smaller_while_the_day_is_sent_again() -> None:
    cursor, _ = read(STREAM, crash_after=5)
    assert cursor.acknowledged == 5
    tracker = DayTracker(cursor, FIRST, LAST)
    tracker.add("a")
    tracker.add("b")
    tracker.advance(june(2))
    tracker.add("c")
    assert tracker.acknowledged().acknowledged == 5


def test_days_without_events_are_completed_with_the_day_before() -> None:
    tracker = DayTracker(Cursor(), FIRST, LAST)
    tracker.add("a")
    saved = tracker.advance(june(4))
    assert saved is not None
    assert saved.completed_day == june(3)


def test_a_time_beyond_the_range_ends_no_day() -> None:
    tracker = DayTracker(Cursor(), FIRST, LAST)
    assert not tracker.begins_new_day(date(2099, 1, 1))
    assert not tracker.begins_new_day(FIRST)
    assert not tracker.begins_new_day(date(2020, 1, 1))
    assert tracker.begins_new_day(LAST)


def test_other_events_under_the_same_run_are_noticed_before_anything_is_sent() -> None:
    cursor, _ = read(STREAM, crash_after=4)
    changed = [(june(1), "a"), (june(1), "stranger"), *STREAM[2:]]
    tracker = DayTracker(cursor, FIRST, LAST)
    for _, event_id in changed[:2]:
        tracker.add(event_id)
    with pytest.raises(SourceChanged):
        tracker.advance(june(2))


def test_a_repeated_stream_that_ends_before_the_completed_days_do_is_noticed() -> None:
    cursor, _ = read(STREAM, crash_after=6)
    with pytest.raises(SourceChanged):
        read(STREAM[:1], cursor)


@given(
    st.lists(st.tuples(st.integers(1, 4).map(june), st.integers(1, 3)), max_size=15),
    st.lists(st.integers(0, 30), max_size=4),
)
def test_however_often_it_crashes_every_event_is_sent_and_the_count_is_exact(
    runs: list[tuple[date, int]], crashes: list[int]
) -> None:
    # In any order of days, and each event one to three times in a row.
    events = [(day, f"event {number}") for number, (day, times) in enumerate(runs) for _ in range(times)]
    cursor, everything = Cursor(), set[str]()
    for crash_after in crashes:
        if DayTracker(cursor, FIRST, LAST).is_finished:
            break
        before = cursor.acknowledged
        cursor, sent = read(events, cursor, crash_after=crash_after)
        everything.update(sent)
        assert before <= cursor.acknowledged <= len(everything)
    if not DayTracker(cursor, FIRST, LAST).is_finished:
        cursor, sent = read(events, cursor)
        everything.update(sent)
    assert everything == {event_id for _, event_id in events}
    assert cursor.completed_day == LAST


def test_what_is_stored_is_readable_text() -> None:
    assert Cursor(june(2), 10, 12, "00ff").fields() == {
        "completed_day": "2026-06-02", "completed_events": "10", "acknowledged": "12", "digest": "00ff",
        "again": "0",
    }  # fmt: skip
    assert "completed_day" not in Cursor(acknowledged=3).fields()
    assert Cursor(server_day=june(5)).fields()["server_day"] == "2026-06-05"
