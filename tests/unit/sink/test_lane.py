"""A lane: where it begins, what it sends together, and what moves the offset that is committed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import cast

import pytest

from services.sink import lane as lane_module
from services.sink.bigquery import FencedOff, PartitionWriter, StreamLost
from services.sink.gate import Gate
from services.sink.lane import Batching, Lane, LogMismatch
from services.sink.pipeline import Rules, kafka_us
from shared.contracts import topics
from shared.contracts.transactions import Limits
from shared.feature_state import Position
from shared.kafka.errors import TransientError
from shared.warehouse import tables
from shared.warehouse.columns import Row, Table
from tests.factories import transaction_bytes
from tests.unit.sink.records import PARTITIONS, LogRecord, record, update_bytes

RULES = Rules(PARTITIONS, Limits())
AT_ONCE = Batching(linger_s=0.0, max_rows=100, buffer_bytes=1_000_000)
END = 1000


@dataclass
class FakeWriter:
    """Holds what was appended; fails as ordered."""

    table: Table
    highest: int = -1
    last_arrived_us: int | None = None
    failures: list[Exception] = field(default_factory=list)
    held: list[int] = field(default_factory=list)
    batches: list[int] = field(default_factory=list)
    opened: int = 0
    left: bool = False
    goes_on: asyncio.Event | None = None

    async def open(self) -> int:
        self.opened += 1
        return max([self.highest, *self.held])

    async def append(self, rows: Sequence[Row]) -> None:
        if self.goes_on is not None:
            await self.goes_on.wait()
        if self.failures:
            raise self.failures.pop(0)
        new = [row["kafka_offset"] for row in rows if row["kafka_offset"] > max([self.highest, *self.held])]
        self.held += new
        self.batches.append(len(new))

    def leave(self) -> None:
        self.left = True


@dataclass
class FakeIndex:
    judged: int = -1
    refused: set[int] = field(default_factory=set)
    goes_back: bool = False

    async def position(self, partition: int) -> Position:
        return Position(self.judged, -1)

    async def refused_between(self, partition: int, low: int, high: int) -> set[int]:
        if self.goes_back:
            self.judged = -1
        return {offset for offset in self.refused if low <= offset <= high}


def updates(*offsets: int) -> list[LogRecord]:
    return [record(topics.DECISION_UPDATES, update_bytes(offset), offset=offset) for offset in offsets]


def purchases(*offsets: int) -> list[LogRecord]:
    return [record(topics.TRANSACTIONS, transaction_bytes(offset), offset=offset) for offset in offsets]


@asynccontextmanager
async def running(
    writers: Sequence[FakeWriter], *, batching: Batching = AT_ONCE, gate: Gate | None = None, end: int = END
) -> AsyncIterator[Lane]:
    async def end_of_log() -> int:
        return end

    with ThreadPoolExecutor(2) as threads:
        topic = writers[0].table.topic
        assert topic is not None
        typed = cast(Sequence[PartitionWriter], writers)
        lane = Lane(topic, 0, typed, RULES, batching, threads, end_of_log, gate)
        try:
            yield lane
        finally:
            await lane.close(1.0)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 - a lane tells nobody how far it is
            await asyncio.sleep(0.001)


async def begun(lane: Lane) -> int:
    """Wait for the beginning that the lane asks for, and grant it."""
    await until(lambda: lane.seek_to is not None)
    start = lane.seek_to
    assert start is not None
    lane.seek_to = None
    return start


async def failing(lane: Lane) -> None:
    """Wait for what ends the lane."""
    async with asyncio.timeout(10):
        while True:
            lane.raise_if_failed()
            await asyncio.sleep(0.001)


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


async def test_a_warehouse_beyond_the_end_of_the_log_is_another_ones() -> None:
    async with running([FakeWriter(tables.DECISION_UPDATES, highest=10)], end=10) as lane:
        with pytest.raises(LogMismatch, match="another Kafka"):
            await failing(lane)


async def test_a_log_that_has_another_record_where_a_table_has_its_last_row_is_another_one() -> None:
    there = kafka_us(updates(9)[0])
    ahead = FakeWriter(tables.RAW_TRANSACTIONS, highest=9, last_arrived_us=there - 1000)
    behind = FakeWriter(tables.TRANSACTIONS, highest=6, last_arrived_us=there)
    async with running([ahead, behind], gate=Gate(FakeIndex(judged=20), 0)) as lane:
        assert await begun(lane) == 6
        lane.offer(purchases(6, 7))
        with pytest.raises(LogMismatch, match=r"offset 9 of bnpl-transactions-0 .*raw_bnpl_txs_json"):
            lane.offer(purchases(8, 9, 10))


async def test_a_last_record_that_retention_has_taken_is_not_missed() -> None:
    writer = FakeWriter(tables.DECISION_UPDATES, highest=4, last_arrived_us=1)
    async with running([writer]) as lane:
        await begun(lane)
        lane.offer(updates(5, 6))
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


async def test_verdicts_that_were_lost_between_two_questions_are_not_taken_for_none() -> None:
    index = FakeIndex(judged=5, refused={1}, goes_back=True)
    with pytest.raises(TransientError, match="went back"):
        await Gate(index, 0).refused(0, 3)


async def test_closing_leaves_what_was_not_sent() -> None:
    writer = FakeWriter(tables.DECISION_UPDATES)
    async with running([writer], batching=Batching(linger_s=60, max_rows=100, buffer_bytes=1_000_000)) as lane:
        await begun(lane)
        lane.offer(updates(0))
    assert lane.done == 0
    assert writer.held == []
