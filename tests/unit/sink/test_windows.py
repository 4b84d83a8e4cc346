"""A window of a comparison ends at so many records or bytes, and is gone before the next one is read."""

from __future__ import annotations

import weakref
from collections.abc import Awaitable, Callable, Mapping
from types import SimpleNamespace
from typing import Any, cast

import pytest
from aiokafka import TopicPartition

from services.sink import reconcile, repair, verdicts
from services.sink.pipeline import Rules
from services.sink.reconcile import Window, windows
from services.sink.verdicts import Verdicts
from shared.contracts.topics import DEAD_LETTERS
from shared.contracts.transactions import Limits
from shared.warehouse.tables import tables_of
from tests.unit.sink.log import OnePartition
from tests.unit.sink.records import LogRecord

AT = TopicPartition(DEAD_LETTERS.name, 0)
LETTER_BYTES = 64 * 1024
END = 40


class Letter(LogRecord):
    """Can be watched, as its base can't."""


class Row(dict[str, Any]):
    """The same."""


class Consumer(OnePartition):
    """A log of large letters, of which it gives a few at a time."""

    def __init__(self, *, value: bytes, at_once: int) -> None:
        super().__init__(END)
        self._value, self._at_once = value, at_once
        self.given: list[weakref.ref[Any]] = []
        self.alive_at_a_poll: list[int] = []
        """How many of the records and rows that were made so far somebody holds."""

    async def getmany(self, at: TopicPartition, *, max_records: int, **_: Any) -> Mapping[TopicPartition, list[Letter]]:
        self.alive_at_a_poll.append(sum(each() is not None for each in self.given))
        offsets = range(self.at, self.at + min(self._at_once, max_records))
        self.at = offsets.stop
        letters = [Letter(at.topic, 0, offset, 0, b"", self._value) for offset in offsets]
        self.given += map(weakref.ref, letters)
        return {at: letters}


async def test_a_window_of_large_records_ends_before_it_is_gigabytes() -> None:
    consumer: Any = Consumer(value=bytes(LETTER_BYTES), at_once=50)
    sizes = [len(records) async for records, _ in windows(consumer, AT, 2_000)]
    assert sum(sizes) == 2_000
    assert max(sizes) <= reconcile.WINDOW_BYTES // LETTER_BYTES + 50
    assert len(sizes) == 4


async def test_a_window_of_small_records_ends_at_their_number_and_none_is_left_over(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(reconcile, "WINDOW", 10)
    consumer: Any = Consumer(value=b"", at_once=7)
    assert [(len(records), high) async for records, high in windows(consumer, AT, 20)] == [(10, 10), (10, 20)]


async def audited(consumer: Any) -> None:
    unused = cast(Any, None)
    (balance,) = await reconcile._partition(consumer, AT, unused, Verdicts(Rules(1, Limits()), unused), None)
    assert len(balance.missing) == END


async def mended(consumer: Any) -> None:
    highs: list[int] = []

    async def mend(at: TopicPartition, window: Window) -> None:
        highs.append(window.high)

    mending = cast(Any, SimpleNamespace(client=None, mend=mend))
    await repair._partition(consumer, AT, Verdicts(Rules(1, Limits()), cast(Any, None)), mending)
    assert highs == [10, 20, 30, END]


@pytest.mark.parametrize("goes_through", [audited, mended])
async def test_nothing_of_a_window_is_held_while_the_next_one_is_read(
    monkeypatch: pytest.MonkeyPatch, goes_through: Callable[[Any], Awaitable[None]]
) -> None:
    consumer = Consumer(value=b"", at_once=10)

    def build(topic: str, records: list[Any], *_: Any) -> Any:
        rows = [Row(kafka_offset=each.offset, kafka_timestamp=0) for each in records]
        consumer.given += map(weakref.ref, rows)
        return SimpleNamespace(refused={}, rows=dict.fromkeys(tables_of(topic), rows))

    monkeypatch.setattr(reconcile, "WINDOW", 10)
    monkeypatch.setattr(verdicts, "build", build)
    monkeypatch.setattr(reconcile, "rows_between", lambda *_: [])
    await goes_through(consumer)
    assert consumer.alive_at_a_poll == [0, 0, 0, 0]
