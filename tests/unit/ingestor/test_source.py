from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from datetime import UTC, date, datetime, timedelta
from email.utils import format_datetime

import httpx
import pytest

from services.ingestor.source import (
    FIRST_PAUSE_S,
    LONGEST_PAUSE_S,
    Backoff,
    LineStream,
    ServerClock,
    SourceBroken,
    history_body,
    live_body,
    silence_of,
)

DAY = date(2026, 6, 1)


async def chunks_of(*parts: bytes | Exception) -> AsyncIterator[bytes]:
    for part in parts:
        if isinstance(part, Exception):
            raise part
        yield part


def stream_of(chunks: AsyncIterator[bytes], batch_lines: int = 100) -> LineStream:
    return LineStream(chunks, batch_lines=batch_lines, clock=ServerClock(None))


async def everything(stream: LineStream) -> list[list[bytes]]:
    batches = []
    while batch := await stream.next_batch():
        batches.append([line.raw for line in batch])
    return batches


@pytest.mark.parametrize(("start", "end"), [(None, DAY), (DAY, None), (None, None)])
def test_a_history_is_not_asked_for_without_both_dates(start: date | None, end: date | None) -> None:
    with pytest.raises(ValueError, match="first and a last day"):
        history_body(start, end, 10, 1)


def test_a_history_request_names_its_days_its_volume_and_its_seed() -> None:
    assert history_body(DAY, date(2026, 6, 4), 300, 7) == {
        "start_date": "2026-06-01", "end_date": "2026-06-04", "base_daily_volume": 300, "seed": 7,
    }  # fmt: skip


def test_a_live_request_has_no_seed_and_no_end_unless_one_is_wanted() -> None:
    assert live_body(200.0, 0) == {"rate_per_second": 200.0}
    assert live_body(200.0, 50) == {"rate_per_second": 200.0, "max_records": 50}


def test_pauses_double_up_to_the_cap_and_begin_anew_after_a_success() -> None:
    backoff = Backoff()
    pauses = [backoff.next_pause() for _ in range(12)]
    for index, pause in enumerate(pauses):
        ceiling = min(FIRST_PAUSE_S * 2**index, LONGEST_PAUSE_S)
        assert ceiling / 2 <= pause <= ceiling
    backoff.reset()
    assert backoff.next_pause() <= FIRST_PAUSE_S


def test_a_slow_stream_may_be_silent_for_longer() -> None:
    assert silence_of(0.01) == 2000
    assert silence_of(200) < 1


async def test_lines_come_in_order_and_the_end_is_an_empty_batch() -> None:
    stream = stream_of(chunks_of(b"a\nb", b"\nc\n", b"d"))
    assert [line for batch in await everything(stream) for line in batch] == [b"a", b"b", b"c", b"d"]
    assert await stream.next_batch() == []


async def test_what_arrived_before_a_break_is_given_out_first() -> None:
    stream = stream_of(chunks_of(b"a\nhal", httpx.ReadError("reset by peer")))
    first = await stream.next_batch()
    assert [(line.raw, line.ended) for line in first] == [(b"a", True), (b"hal", False)]
    with pytest.raises(SourceBroken, match="reset by peer"):
        await stream.next_batch()


async def test_a_fault_of_our_own_is_not_taken_for_a_broken_source() -> None:
    stream = stream_of(chunks_of(b"a\n", ZeroDivisionError()))
    await stream.next_batch()
    with pytest.raises(ZeroDivisionError):
        await stream.next_batch()


async def test_no_batch_is_larger_than_was_asked_for() -> None:
    stream = stream_of(chunks_of(b"a\nb\nc\nd\ne\n"), batch_lines=2)
    assert await everything(stream) == [[b"a", b"b"], [b"c", b"d"], [b"e"]]


async def test_with_a_full_batch_waiting_nothing_more_is_read() -> None:
    taken = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal taken
        while True:
            taken += 1
            yield b"line\n"

    stream = stream_of(endless(), batch_lines=10)
    for round_number in range(1, 4):
        assert len(await stream.next_batch()) == 10
        for _ in range(50):
            await asyncio.sleep(0)
        assert taken <= 10 * (round_number + 1)
    await stream.close()


async def test_a_line_does_not_wait_for_more_to_come() -> None:
    release = asyncio.Event()

    async def one_then_silence() -> AsyncIterator[bytes]:
        yield b"now\n"
        await release.wait()

    stream = stream_of(one_then_silence())
    async with asyncio.timeout(1):
        assert [line.raw for line in await stream.next_batch()] == [b"now"]
    await stream.close()


def test_the_servers_day_is_that_of_its_own_clock() -> None:
    assert ServerClock("Mon, 23 Nov 2026 23:59:00 GMT").day() == date(2026, 11, 23)
    assert ServerClock("Mon, 23 Nov 2026 23:59:00 -0500").day() == date(2026, 11, 24)


@pytest.mark.parametrize("hours", [-1, 1])
def test_a_clock_of_ours_that_shows_another_time_than_the_sources_gives_way_to_it(hours: int) -> None:
    theirs = datetime.fromisoformat("2026-11-23T12:00:00+00:00")
    clock = ServerClock("Mon, 23 Nov 2026 12:00:00 GMT")
    assert abs(clock.corrected(theirs + timedelta(hours=hours)) - theirs) < timedelta(seconds=2)


def test_a_clock_of_ours_that_shows_about_the_same_time_is_the_finer_one() -> None:
    clock = ServerClock("Mon, 23 Nov 2026 12:00:00 GMT")
    ours = datetime.fromisoformat("2026-11-23T12:00:01.234567+00:00")
    assert clock.corrected(ours) == ours


def test_without_a_date_of_the_source_our_clock_is_right_whatever_it_shows() -> None:
    ours = datetime.fromisoformat("2001-01-01T00:00:00+00:00")
    assert ServerClock(None).corrected(ours) == ours


def test_a_machine_that_slept_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The monotonic clock stands still meanwhile, so that the source's own would be taken for an hour behind."""
    clock = ServerClock(format_datetime(datetime.now(UTC), usegmt=True))
    assert not clock.jumped()
    asleep_s = 3600.0
    woken = time.monotonic
    monkeypatch.setattr(time, "monotonic", lambda: woken() - asleep_s)
    assert clock.jumped()


@pytest.mark.parametrize("header", [None, "yesterday", ""])
def test_without_a_readable_date_our_own_clock_has_to_do(header: str | None) -> None:
    assert abs(ServerClock(header).day() - datetime.now(UTC).date()) <= timedelta(days=1)
