"""Which partitions the sink reads, by the room of their lanes."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from aiokafka import TopicPartition

from services.sink.lane import LogMismatch
from services.sink.reading import PAUSE_AFTER_S, Reading
from shared.kafka.consumer import Batch

A, B = TopicPartition("bnpl-features", 0), TopicPartition("bnpl-features", 1)


@dataclass
class FakeLane:
    full: bool = False
    opened: bool = True
    seek_to: int | None = None
    failure: Exception | None = None

    def raise_if_failed(self) -> None:
        if self.failure is not None:
            raise self.failure


@dataclass
class FakeConsumer:
    """Notes what it is asked for; like the client, without partitions it gives of all that aren't paused."""

    asked: list[set[TopicPartition]] = field(default_factory=list)
    sought: dict[TopicPartition, int] = field(default_factory=dict)
    _paused: set[TopicPartition] = field(default_factory=set)

    def paused(self) -> set[TopicPartition]:
        return set(self._paused)

    def pause(self, *partitions: TopicPartition) -> None:
        self._paused |= set(partitions)

    def resume(self, *partitions: TopicPartition) -> None:
        self._paused -= set(partitions)

    def seek(self, partition: TopicPartition, offset: int) -> None:
        self.sought[partition] = offset

    async def getmany(self, *partitions: TopicPartition, timeout_ms: int = 0, max_records: int | None = None) -> Batch:
        self.asked.append(set(partitions) or {A, B} - self._paused)
        return {}


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def reading(clock: Clock) -> Reading:
    return Reading(clock)


async def test_a_full_lane_is_passed_over_and_keeps_what_was_fetched_for_it(reading: Reading) -> None:
    consumer = FakeConsumer()
    await reading.poll(consumer, {A: FakeLane(full=True), B: FakeLane()})
    assert consumer.asked == [{B}]
    assert not consumer.paused()


async def test_one_that_stays_full_is_paused_and_read_again_once_it_has_room(reading: Reading, clock: Clock) -> None:
    consumer, lane = FakeConsumer(), FakeLane(full=True)
    lanes = {A: lane, B: FakeLane()}
    await reading.poll(consumer, lanes)
    clock.now += PAUSE_AFTER_S
    await reading.poll(consumer, lanes)
    assert consumer.paused() == {A}
    lane.full = False
    await reading.poll(consumer, lanes)
    assert not consumer.paused() and consumer.asked[-1] == {A, B}
    lane.full = True
    await reading.poll(consumer, lanes)
    assert not consumer.paused()  # counted anew


async def test_while_all_are_full_none_is_read_and_the_client_hears_of_us(reading: Reading, clock: Clock) -> None:
    consumer, lanes = FakeConsumer(), {A: FakeLane(full=True), B: FakeLane(full=True)}
    assert await reading.poll(consumer, lanes) == {}
    assert consumer.asked == []
    clock.now += PAUSE_AFTER_S
    await reading.poll(consumer, lanes)
    # One that never polls is put out of its group.
    assert consumer.asked == [set()]


async def test_a_lane_says_where_to_begin_and_what_ended_it(reading: Reading) -> None:
    consumer, lane = FakeConsumer(), FakeLane(seek_to=17)
    consumer.pause(A)
    await reading.poll(consumer, {A: lane})
    assert consumer.sought == {A: 17} and lane.seek_to is None and not consumer.paused()
    await reading.poll(consumer, {A: lane})
    assert consumer.sought == {A: 17}
    lane.failure = LogMismatch("of another Kafka")
    with pytest.raises(LogMismatch):
        await reading.poll(consumer, {A: lane})


async def test_what_is_given_away_and_comes_back_counts_anew(reading: Reading, clock: Clock) -> None:
    consumer, lanes = FakeConsumer(), {A: FakeLane(full=True), B: FakeLane()}
    await reading.poll(consumer, lanes)
    reading.forget([A])
    clock.now += PAUSE_AFTER_S
    await reading.poll(consumer, lanes)
    assert not consumer.paused()
