"""Lanes with writers in memory, and what waits for them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import cast

from services.sink.bigquery import PartitionWriter
from services.sink.gate import Gate
from services.sink.lane import Batching, Lane
from services.sink.pipeline import Rules
from services.sink.refused import Refused
from shared.contracts import topics
from shared.contracts.transactions import Limits
from shared.feature_state import Position
from shared.kafka.errors import TransientError
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
    forgotten_up_to: int = -1

    async def position(self, partition: int) -> Position:
        return Position(self.judged, -1)

    async def refused_between(self, partition: int, low: int, high: int) -> set[int]:
        if self.goes_back:
            self.judged = -1
        return {offset for offset in self.refused if max(low, self.forgotten_up_to + 1) <= offset <= high}

    async def remembers_refusals(self, partition: int, low: int) -> bool:
        return low > self.forgotten_up_to


@dataclass
class FakeLetters:
    """Those of one partition of bnpl-transactions."""

    refused: set[int] = field(default_factory=set)
    asked: list[tuple[int, int]] = field(default_factory=list)
    away: int = 0
    """So often nobody answers."""
    failure: Exception = field(default_factory=lambda: TransientError("not now"))

    async def between(self, partition: int, low: int, high: int) -> Refused:
        self.asked.append((low, high))
        if self.away:
            self.away -= 1
            raise self.failure
        return of_anything(offset for offset in self.refused if low <= offset <= high)


def of_anything(offsets: Iterable[int]) -> Refused:
    """Letters that don't say what lay there."""
    return Refused(dict.fromkeys(offsets, ()))


def updates(*offsets: int) -> list[LogRecord]:
    return [record(topics.DECISION_UPDATES, update_bytes(offset), offset=offset) for offset in offsets]


def purchases(*offsets: int) -> list[LogRecord]:
    return [record(topics.TRANSACTIONS, transaction_bytes(offset), offset=offset) for offset in offsets]


@asynccontextmanager
async def running(
    writers: Sequence[FakeWriter],
    *,
    batching: Batching = AT_ONCE,
    gate: Gate | None = None,
    end: int = END,
    end_of_log: Callable[[], Awaitable[int]] | None = None,
    rules: Rules = RULES,
) -> AsyncIterator[Lane]:
    async def always() -> int:
        return end

    with ThreadPoolExecutor(2) as threads:
        topic = writers[0].table.topic
        assert topic is not None
        typed = cast(Sequence[PartitionWriter], writers)
        lane = Lane(topic, 0, typed, rules, batching, threads, end_of_log or always, gate)
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
