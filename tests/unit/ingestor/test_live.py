from __future__ import annotations

import asyncio

import pytest

from services.ingestor.live import LiveIngest
from services.ingestor.source import SourceRefused
from services.ingestor.stopping import Stopped
from tests.unit.ingestor import recorded
from tests.unit.ingestor.loop_fakes import Answer, Cursors, Source, Topics, intake_of

EVENTS = [line.raw + b"\n\n" for line in recorded.lines("live-1000")]
OUTLIERS = [line.raw + b"\n\n" for line in recorded.lines("outliers-500")]


async def run_live(
    *answers: Answer, max_events: int = 0, cursors: Cursors | None = None
) -> tuple[Source, Topics, Cursors]:
    stop = asyncio.Event()
    source, topics, cursors = Source(*answers, stop=stop), Topics(), cursors or Cursors()
    live = LiveIngest(intake_of(source, topics, stop), cursors, generator="bnpl")
    try:
        await live.run(200.0, max_events)
    except Stopped:
        assert not max_events
    return source, topics, cursors


async def test_every_event_of_the_stream_becomes_a_transaction_and_an_outcome() -> None:
    _, topics, cursors = await run_live(Answer(EVENTS[:300]), max_events=300)
    assert [value["transaction_id"] for value in topics.values("bnpl-transactions")] == [
        f"txn_{number:08d}" for number in range(300)
    ]
    assert len(topics.values("bnpl-outcomes")) == 300
    assert [cursor.acknowledged for cursor in cursors.saved.values()] == [300]


async def test_a_stream_that_ends_is_followed_by_a_run_of_another_name() -> None:
    _, topics, cursors = await run_live(Answer(EVENTS[:5]), Answer(EVENTS[:5]), Answer(EVENTS[:5]))
    transactions = topics.values("bnpl-transactions")
    assert len({value["source"] for value in transactions}) == 3
    assert len({value["event_id"] for value in transactions}) == 15
    assert [cursor.acknowledged for cursor in cursors.saved.values()] == [5, 5, 5]
    assert cursors.expiring.keys() == cursors.saved.keys(), "each stream is a run of its own, and none is kept for ever"


async def test_a_stream_cut_in_the_middle_of_a_line_leaves_one_letter_and_is_asked_for_again() -> None:
    source, topics, _ = await run_live(Answer([*EVENTS[:3], EVENTS[3][:400]], breaks=True), Answer(EVENTS[:2]))
    assert len(source.requests) == 3
    assert len(topics.values("bnpl-transactions")) == 5
    [letter] = topics.values("dead-letters")
    assert (letter["reason"], letter["offset"], letter["value_bytes"]) == ("syntax", 3, 400)


async def test_only_what_is_missing_is_asked_for_after_a_break() -> None:
    source, topics, _ = await run_live(Answer(EVENTS[:30], breaks=True), Answer(EVENTS), max_events=100)
    assert [request["max_records"] for request in source.requests] == [100, 70]
    assert len(topics.values("bnpl-transactions")) == 100


async def test_an_error_page_is_one_letter_for_the_whole_outage() -> None:
    page = Answer([b"<html>Bad Gateway</html>"], status=502, content_type="text/html")
    polite = Answer([b"<html>Maintenance</html>"], content_type="text/html")
    _, topics, _ = await run_live(page, page, polite, page, Answer(EVENTS[:2]), page)
    letters = topics.values("dead-letters")
    assert [letter["reason"] for letter in letters] == ["syntax", "syntax"]
    assert len({letter["topic"] for letter in letters}) == 2
    assert len(topics.values("bnpl-transactions")) == 2


@pytest.mark.parametrize("status", [404, 422])
async def test_a_request_that_the_source_calls_wrong_is_not_repeated(status: int) -> None:
    with pytest.raises(SourceRefused, match=f"answers {status}") as refused:
        await run_live(Answer([b'{"detail":"no"}'], status=status, content_type="application/json"), max_events=1)
    assert "://" not in str(refused.value)  # an address may name a user and his password


async def test_a_line_among_good_ones_that_is_none_disturbs_nobody() -> None:
    chunks = [EVENTS[0], b"garbage\n\n", EVENTS[1], OUTLIERS[0], EVENTS[2]]
    _, topics, cursors = await run_live(Answer(chunks), max_events=5)
    assert len(topics.values("bnpl-transactions")) == 3
    assert [(letter["offset"], letter["reason"]) for letter in topics.values("dead-letters")] == [
        (1, "syntax"), (3, "precision"),
    ]  # fmt: skip
    assert [cursor.acknowledged for cursor in cursors.saved.values()] == [3]


async def test_redis_away_does_not_hold_up_live_events() -> None:
    _, topics, _ = await run_live(Answer(EVENTS[:50]), max_events=50, cursors=Cursors(failures=1000))
    assert len(topics.values("bnpl-transactions")) == 50


async def test_a_source_of_refused_lines_is_left_and_the_service_stays_and_says_why() -> None:
    stop = asyncio.Event()
    source, topics = Source(Answer(OUTLIERS), Answer(EVENTS), stop=stop), Topics()
    intake = intake_of(source, topics, stop)
    running = asyncio.create_task(LiveIngest(intake, Cursors(), generator="bnpl").run(200.0, 0))
    async with asyncio.timeout(10):
        while "INGESTOR__MAX_REFUSED_SHARE" not in (intake.ready() or ""):  # noqa: ASYNC110 (the fakes need no time)
            await asyncio.sleep(0)
    assert not running.done()
    assert len(source.requests) == 1
    assert 0 < len(topics.values("dead-letters")) < len(OUTLIERS)
    stop.set()
    with pytest.raises(Stopped):
        await running


async def test_it_is_ready_only_while_a_stream_is_open() -> None:
    stop = asyncio.Event()
    topics = Topics()
    intake = intake_of(Source(Answer(EVENTS[:10]), stop=stop), topics, stop)
    seen: list[str | None] = [intake.ready()]
    topics.before = lambda _: seen.append(intake.ready())
    await LiveIngest(intake, Cursors(), generator="bnpl").run(200.0, 10)
    assert seen[0] == "no stream from the source"
    assert seen[1:] == [None] * len(seen[1:])
    assert len(seen) > 1
    assert intake.ready() == "no stream from the source"
