"""A lane: where it begins, what it sends together, and what moves the offset that is settled."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from services.sink import lane as lane_module
from services.sink.bigquery import FencedOff, StreamLost
from services.sink.gate import Gate
from services.sink.lane import Batching
from shared.contracts import topics
from shared.contracts.transactions import Limits
from shared.warehouse import tables
from tests.unit.sink.lanes import (
    RULES,
    FakeIndex,
    FakeLetters,
    FakeWriter,
    begun,
    failing,
    purchases,
    running,
    until,
    updates,
)
from tests.unit.sink.records import record


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lane_module, "GATE_POLL_S", 0.001)
    monkeypatch.setattr(lane_module, "REOPEN_PAUSE_S", 0.001)


async def test_a_lane_begins_after_what_every_table_of_the_topic_holds() -> None:
    ahead, behind = FakeWriter(tables.RAW_TRANSACTIONS, highest=9), FakeWriter(tables.TRANSACTIONS, highest=6)
    async with running([ahead, behind], gate=Gate(FakeIndex(judged=20), 0)) as lane:
        assert await begun(lane) == 6  # which is looked at, and not written
        lane.offer(purchases(*range(6, 12)))
        await until(lambda: lane.done == 12)
    assert ahead.left and behind.left
    assert ahead.held == [10, 11]
    assert behind.held == [7, 8, 9, 10, 11]


async def test_records_before_the_lane_is_open_and_before_its_beginning_are_passed_over() -> None:
    writer = FakeWriter(tables.DECISION_UPDATES, highest=4)
    async with running([writer]) as lane:
        lane.offer(updates(0, 1))
        assert lane.full
        assert await begun(lane) == 4
        lane.offer(updates(3, 4, 5, 6))
        await until(lambda: lane.done == 7)
    assert writer.held == [5, 6]


async def test_done_stands_still_until_the_rows_are_acknowledged() -> None:
    writer = FakeWriter(tables.DECISION_UPDATES, goes_on=asyncio.Event())
    async with running([writer]) as lane:
        await begun(lane)
        lane.offer(updates(0, 1))
        for _ in range(20):
            await asyncio.sleep(0)
        assert lane.done == 0
        assert writer.goes_on is not None
        writer.goes_on.set()
        await until(lambda: lane.done == 2)


async def test_done_moves_over_records_that_have_no_row() -> None:
    writer = FakeWriter(tables.DECISION_UPDATES)
    async with running([writer]) as lane:
        await begun(lane)
        lane.offer([record(topics.DECISION_UPDATES, b"{", offset=0)])
        await until(lambda: lane.done == 1)
    assert writer.held == []


async def test_a_lost_stream_is_opened_anew_and_reading_begins_where_the_warehouse_ends() -> None:
    writer = FakeWriter(tables.DECISION_UPDATES, failures=[StreamLost("gone")])
    async with running([writer]) as lane:
        assert await begun(lane) == 0
        lane.offer(updates(0, 1))
        assert await begun(lane) == 0
        assert writer.opened == 2
        lane.offer(updates(0, 1))
        await until(lambda: lane.done == 2)
    assert writer.held == [0, 1]


async def test_a_lane_that_was_fenced_off_ends_with_that() -> None:
    async with running([FakeWriter(tables.DECISION_UPDATES, failures=[FencedOff("taken")])]) as lane:
        await begun(lane)
        lane.offer(updates(0))
        with pytest.raises(FencedOff):
            await failing(lane)


async def test_records_wait_for_company_but_no_longer_than_they_may() -> None:
    writer = FakeWriter(tables.DECISION_UPDATES)
    async with running([writer], batching=Batching(linger_s=0.2, max_rows=3, buffer_bytes=1_000_000)) as lane:
        await begun(lane)
        lane.offer(updates(0))
        lane.offer(updates(1))
        await until(lambda: lane.done == 2)
        assert writer.batches == [2]
        lane.offer(updates(2, 3, 4, 5))
        await until(lambda: lane.done == 6)
    assert writer.batches == [2, 3, 1]


async def test_a_full_lane_asks_for_a_pause_and_sends_what_it_has() -> None:
    writer = FakeWriter(tables.DECISION_UPDATES, goes_on=asyncio.Event())
    async with running([writer], batching=Batching(linger_s=60, max_rows=100, buffer_bytes=2_000)) as lane:
        await begun(lane)
        fullness = [lane.full]
        lane.offer(updates(0, 1, 2))
        fullness.append(lane.full)
        assert writer.goes_on is not None
        writer.goes_on.set()
        await until(lambda: lane.done == 3)
        fullness.append(lane.full)
    assert fullness == [False, True, False]


async def test_headers_fill_a_lane_as_values_do() -> None:
    writer = FakeWriter(tables.DECISION_UPDATES, goes_on=asyncio.Event())
    async with running([writer], batching=Batching(linger_s=60, max_rows=100, buffer_bytes=10_000)) as lane:
        await begun(lane)
        (update,) = updates(0)
        lane.offer([update])
        assert not lane.full
        (update,) = updates(1)
        lane.offer([replace(update, headers=[("note", bytes(10_000))])])
        assert lane.full


async def test_transactions_go_no_further_than_they_were_judged() -> None:
    raw, typed = FakeWriter(tables.RAW_TRANSACTIONS), FakeWriter(tables.TRANSACTIONS)
    index = FakeIndex(judged=1)
    async with running([raw, typed], gate=Gate(index, 0)) as lane:
        await begun(lane)
        lane.offer(purchases(0, 1, 2, 3))
        await until(lambda: lane.done == 2)
        index.judged, index.refused = 3, {2}
        await until(lambda: lane.done == 4)
    assert raw.held == typed.held == [0, 1, 3]


async def test_what_has_a_letter_when_the_lane_is_opened_gets_no_row_whatever_our_limits_say() -> None:
    """The limit was raised since: nothing of the records, nor of what state tells, refuses them any more."""
    raw, typed = FakeWriter(tables.RAW_TRANSACTIONS, highest=1), FakeWriter(tables.TRANSACTIONS, highest=0)
    letters = FakeLetters({0, 2, 5}, away=1)
    index = FakeIndex(judged=5)
    async with running([raw, typed], gate=Gate(index, 0, letters)) as lane:
        assert await begun(lane) == 0
        lane.offer(purchases(*range(8)))
        await until(lambda: lane.done == 6)
        index.judged = 7
        await until(lambda: lane.done == 8)
    assert (raw.held, typed.held) == ([3, 4, 6, 7], [1, 3, 4, 6, 7])
    assert letters.asked == [(1, 5), (1, 5)], "once more where nobody answered, and never again"


async def test_what_our_limits_refuse_and_nobody_else_did_has_its_row() -> None:
    """Ours were lowered, and the features service had judged it by the old ones; or has them still."""
    raw, typed = FakeWriter(tables.RAW_TRANSACTIONS), FakeWriter(tables.TRANSACTIONS)
    letters, index = FakeLetters({2}), FakeIndex(judged=3, refused={1})
    low = replace(RULES, limits=Limits(max_amount=0.01))
    async with running([raw, typed], gate=Gate(index, 0, letters), rules=low) as lane:
        await begun(lane)
        letters.asked.clear()
        letters.away = 1
        lane.offer(purchases(*range(4)))
        await until(lambda: lane.done == 4)
        assert (raw.held, typed.held, letters.asked) == ([0, 3], [0, 3], [(0, 3), (0, 3)])
        index.judged, index.refused = 7, {4, 5, 6, 7}
        lane.offer(purchases(*range(4, 8)))
        await until(lambda: lane.done == 8)
        assert len(letters.asked) == 2, "of what the features service has noted as refused, nobody is asked"
        index.judged, index.refused = 9, set()
        letters.asked.clear()
        (alien,) = purchases(8)
        lane.offer([replace(alien, key=b"cust_000009", partition=0), *purchases(9)])
        await until(lambda: lane.done == 10)
        assert len(letters.asked) == 1 and raw.held == [0, 3, 9], "only of the one that limits alone refuse"


async def test_closing_leaves_what_was_not_sent() -> None:
    writer = FakeWriter(tables.DECISION_UPDATES)
    async with running([writer], batching=Batching(linger_s=60, max_rows=100, buffer_bytes=1_000_000)) as lane:
        await begun(lane)
        lane.offer(updates(0))
    assert lane.done == 0
    assert writer.held == []
