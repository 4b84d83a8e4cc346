"""A log that is another than that of the tables' rows: how it is noticed, and that nothing of it is committed."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, cast

import pytest
from aiokafka import TopicPartition

from services.sink import lane as lane_module
from services.sink.bigquery import StreamLost
from services.sink.gate import Gate
from services.sink.lane import Lane, LogMismatch
from services.sink.loop import SinkLoop
from services.sink.pipeline import kafka_us
from shared.settings import KafkaSettings
from shared.warehouse import tables
from tests.unit.sink.lanes import (
    AT_ONCE,
    END,
    RULES,
    FakeIndex,
    FakeWriter,
    begun,
    failing,
    purchases,
    running,
    until,
    updates,
)

AT = TopicPartition("decision-updates", 0)


async def test_a_warehouse_beyond_the_end_of_the_log_is_another_ones() -> None:
    async with running([FakeWriter(tables.DECISION_UPDATES, highest=10)], end=10) as lane:
        with pytest.raises(LogMismatch, match="another Kafka"):
            await failing(lane)
    assert lane.committable is None


async def test_a_log_that_has_another_record_where_a_table_has_its_last_row_is_another_one() -> None:
    there = kafka_us(updates(9)[0])
    ahead = FakeWriter(tables.RAW_TRANSACTIONS, highest=9, last_arrived_us=there - 1000)
    behind = FakeWriter(tables.TRANSACTIONS, highest=6, last_arrived_us=there)
    async with running([ahead, behind], gate=Gate(FakeIndex(judged=20), 0)) as lane:
        assert await begun(lane) == 6
        lane.offer(purchases(6, 7))
        await until(lambda: lane.done == 8)
        with pytest.raises(LogMismatch, match=r"offset 9 of bnpl-transactions-0, .*ended at 1000.*raw_bnpl_txs_json"):
            lane.offer(purchases(8, 9, 10))
    assert lane.committable is None


async def test_nothing_is_committed_before_the_records_of_all_last_rows_were_compared() -> None:
    there = kafka_us(updates(9)[0])
    ahead = FakeWriter(tables.RAW_TRANSACTIONS, highest=9, last_arrived_us=there)
    behind = FakeWriter(tables.TRANSACTIONS, highest=6, last_arrived_us=there)
    async with running([ahead, behind], gate=Gate(FakeIndex(judged=20), 0)) as lane:
        await begun(lane)
        lane.offer(purchases(6, 7))
        await until(lambda: lane.done == 8)
        assert lane.committable is None
        lane.offer(purchases(8, 9))
        await until(lambda: lane.done == 10)
        assert lane.committable == 10


async def test_a_partition_with_nothing_new_is_open_and_committed_once_its_last_record_was_seen() -> None:
    writer = FakeWriter(tables.DECISION_UPDATES, highest=4, last_arrived_us=kafka_us(updates(4)[0]))
    async with running([writer], end=5) as lane:
        await begun(lane)
        assert (lane.opened, lane.done, lane.committable) == (True, 5, None)
        lane.offer(updates(4))
        assert lane.committable == 5


async def test_a_last_record_that_retention_has_taken_is_not_missed() -> None:
    writer = FakeWriter(tables.DECISION_UPDATES, highest=4, last_arrived_us=1)
    async with running([writer]) as lane:
        await begun(lane)
        assert (lane.opened, lane.done, lane.committable) == (True, 5, None)
        lane.offer(updates(5, 6))
        await until(lambda: lane.committable == 7)
    assert writer.held == [5, 6]


async def test_what_a_lane_had_settled_is_not_committed_once_the_log_has_lost_its_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(lane_module, "REOPEN_PAUSE_S", 0.001)
    writer, ends = FakeWriter(tables.DECISION_UPDATES), [END, 1]

    async def end_of_log() -> int:
        return ends.pop(0)

    async with running([writer], end_of_log=end_of_log) as lane:
        await begun(lane)
        lane.offer(updates(0, 1))
        await until(lambda: lane.committable == 2)
        writer.failures.append(StreamLost("gone"))
        lane.offer(updates(2))
        with pytest.raises(LogMismatch, match="ends at 1"):
            await failing(lane)
    assert lane.committable is None


class Commits:
    """Keeps what it was handed."""

    def __init__(self) -> None:
        self.offsets: dict[TopicPartition, int] = {}

    def add(self, offsets: Mapping[TopicPartition, int]) -> None:
        self.offsets.update(offsets)

    async def flush(self) -> None:
        """Nothing waits here."""

    def give_back(self, partitions: Collection[TopicPartition]) -> None:
        """The same."""


class Owner:
    """A loop with one lane, whose table ends with a row of offset 4."""

    def __init__(self, threads: ThreadPoolExecutor, arrived_us: int) -> None:
        self.commits = Commits()
        writer: Any = FakeWriter(tables.DECISION_UPDATES, highest=4, last_arrived_us=arrived_us)

        async def end_of_log() -> int:
            return END

        def make_lane(_: SinkLoop, at: TopicPartition) -> Lane:
            self.lane = Lane(at.topic, at.partition, [writer], RULES, AT_ONCE, threads, end_of_log)
            return self.lane

        self.loop = SinkLoop(KafkaSettings(), make_lane)
        self.loop._commits = cast(Any, self.commits)

    async def begin(self) -> None:
        await self.loop.assigned({AT})
        await begun(self.lane)

    def hand_in(self) -> dict[TopicPartition, int]:
        self.loop._hand_in(cast(Any, self.commits), [AT])
        return self.commits.offsets


async def test_of_another_log_nothing_is_handed_in_also_not_on_the_way_out() -> None:
    with ThreadPoolExecutor(2) as threads:
        owner = Owner(threads, arrived_us=1)
        await owner.begin()
        assert owner.hand_in() == {}
        with pytest.raises(LogMismatch):
            owner.lane.offer(updates(4, 5))
        await owner.loop.revoked({AT})
        assert owner.commits.offsets == {}


async def test_a_partition_at_rest_is_ready_has_no_lag_and_goes_without_waiting() -> None:
    with ThreadPoolExecutor(2) as threads:
        owner = Owner(threads, arrived_us=1)  # retention has taken the record: none comes that could be compared
        await owner.begin()
        assert owner.loop.ready() is None
        assert owner.loop.progress() == {AT: 4}
        await owner.loop.revoked({AT})
        assert owner.commits.offsets == {}


async def test_what_was_compared_is_handed_in() -> None:
    with ThreadPoolExecutor(2) as threads:
        owner = Owner(threads, arrived_us=kafka_us(updates(4)[0]))
        await owner.begin()
        owner.lane.offer(updates(4, 5))
        await until(lambda: owner.lane.done == 6)
        assert owner.hand_in() == {AT: 6}
        await owner.loop.revoked({AT})
