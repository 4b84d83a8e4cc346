"""Reading to an end that may never come."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterator, Mapping
from typing import Any

import pytest
from aiokafka import ConsumerRecord, TopicPartition

from services.ledger import log_reader
from services.ledger.log_reader import records_below
from shared.kafka.connection import SILENCE_SECONDS
from shared.kafka.errors import TransientError
from tests.unit.ledger.world import record

HERE, THERE = TopicPartition("bnpl-outcomes", 0), TopicPartition("bnpl-outcomes", 3)

Step = tuple[float, Mapping[TopicPartition, int], Mapping[TopicPartition, int | None]]
"""Seconds that a poll takes, how many records it brings of each partition, and positions that change without any (None:
the client has none)."""


class Log:
    """A consumer whose polls go as they are told, with a clock that moves in them. After the last: nothing more."""

    def __init__(self, *steps: Step) -> None:
        self.now = 0.0
        self._steps: Iterator[Step] = iter(steps)
        self._at: dict[TopicPartition, int | None] = {}
        self.polls = 0

    def clock(self) -> float:
        return self.now

    def assign(self, partitions: Collection[TopicPartition]) -> None: ...

    def pause(self, partition: TopicPartition) -> None: ...

    async def beginning_offsets(self, partitions: Collection[TopicPartition]) -> dict[TopicPartition, int]:
        return dict.fromkeys(partitions, 0)

    def seek(self, partition: TopicPartition, offset: int) -> None:
        self._at[partition] = offset

    async def position(self, partition: TopicPartition) -> int:
        position = self._at[partition]
        if position is None:
            await asyncio.Event().wait()  # as the client does
        assert position is not None
        return position

    async def getmany(self, **_: Any) -> dict[TopicPartition, list[ConsumerRecord]]:
        self.polls += 1
        assert self.polls < 1000, "it turns for ever"
        seconds, counts, positions = next(self._steps, (1.0, {}, {}))
        self.now += seconds
        batches = {}
        for place, count in counts.items():
            first = self._at[place] or 0
            batches[place] = [record(place.topic, at, "c", b"", place.partition) for at in range(first, first + count)]
            self._at[place] = first + count
        self._at |= positions
        return batches


async def offsets(
    log: Log,
    ends: Mapping[TopicPartition, int],
    seconds_each: float = 0.0,
    since: Mapping[TopicPartition, int] | None = None,
) -> list[tuple[int, int]]:
    """(partition, offset) of each record; the reader takes `seconds_each` over one."""
    found = []
    async for each in records_below(log, ends, log.clock, since=since):
        log.now += seconds_each
        found.append((each.partition, each.offset))
    return found


async def test_what_was_read_before_is_not_read_again() -> None:
    log = Log((1.0, {HERE: 2, THERE: 3}, {}))
    found = await offsets(log, {HERE: 5, THERE: 3}, since={HERE: 3})
    assert sorted(found) == sorted(
        [(HERE.partition, 3), (HERE.partition, 4), *((THERE.partition, n) for n in range(3))]
    )
    assert await offsets(Log(), {HERE: 5}, since={HERE: 5}) == []


async def test_brokers_that_go_away_in_the_middle_end_the_reading() -> None:
    log = Log((1.0, {HERE: 2, THERE: 1}, {}))
    with pytest.raises(TransientError, match=r"bnpl-outcomes-3 \(at 1 of 5\) for 30 s"):
        await offsets(log, {HERE: 2, THERE: 5})
    assert SILENCE_SECONDS < log.now - 1 < SILENCE_SECONDS + 5


async def test_a_log_that_lost_its_end_ends_the_reading() -> None:
    """The position is reset to the new end, and stays there."""
    log = Log((1.0, {THERE: 4}, {}), (1.0, {}, {THERE: 2}))
    with pytest.raises(TransientError, match=r"bnpl-outcomes-3 \(at 4 of 5\)"):
        await offsets(log, {THERE: 5})


async def test_a_position_that_the_client_never_finds_again_ends_the_reading(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_reader, "POSITION_SECONDS", 0.001)
    log = Log((1.0, {THERE: 4}, {THERE: None}))
    with pytest.raises(TransientError, match="bnpl-outcomes-3"):
        await asyncio.wait_for(offsets(log, {THERE: 5}), 30)


@pytest.mark.parametrize("skipping", [False, True])
async def test_who_reads_for_long_but_gets_on_is_not_cut_off(skipping: bool) -> None:
    """By records, or by what a position skips: marks of transactions, say."""
    pause = SILENCE_SECONDS - 1
    log = Log(*((pause, {}, {HERE: at + 1}) if skipping else (pause, {HERE: 1}, {}) for at in range(20)))
    assert len(await offsets(log, {HERE: 20})) == (0 if skipping else 20)
    assert log.now > 10 * SILENCE_SECONDS


async def test_who_takes_long_over_the_records_is_not_the_brokers_silence() -> None:
    log = Log((1.0, {HERE: 5}, {}), (1.0, {}, {}), (1.0, {HERE: 5}, {}))
    assert len(await offsets(log, {HERE: 10}, seconds_each=SILENCE_SECONDS)) == 10


async def test_what_came_beyond_the_end_is_not_read() -> None:
    log = Log((1.0, {HERE: 5, THERE: 3}, {}))
    assert await offsets(log, {HERE: 2, THERE: 3, TopicPartition("bnpl-outcomes", 1): 0}) == [
        (0, 0), (0, 1), (3, 0), (3, 1), (3, 2),
    ]  # fmt: skip
