"""A repair goes through the log window by window: how much it holds at a time, and what it leaves for the next one."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, cast

import pytest
from aiokafka import ConsumerRecord, TopicPartition
from aiokafka.errors import OffsetOutOfRangeError
from google.api_core.exceptions import ServiceUnavailable

from services.sink import erasure_rows, reconcile, repair, verdicts
from services.sink.letters import LetterReader, Letters
from services.sink.pipeline import Rules
from services.sink.reconcile import Told
from services.sink.repair import Repaired, StillBuffered
from shared.contracts.topics import DEAD_LETTERS, DECISIONS, FEATURES, TRANSACTIONS
from shared.contracts.transactions import Limits
from shared.kafka.errors import TransientError
from shared.warehouse import tables
from shared.warehouse.columns import Row, RowInvalid, Table
from shared.warehouse.tables import tables_of
from tests.unit.sink.lanes import of_anything

WINDOW = 5
END = 23


@dataclass
class World:
    """A log of one partition for each topic, and tables in memory; a row is its offset alone."""

    held: dict[Table, Counter[int]] = field(default_factory=dict)
    log: dict[str, range] = field(default_factory=dict)
    asked: list[tuple[list[int], list[int]]] = field(default_factory=list)
    """For links: the offsets of the rows that were there, and those that were about to go."""
    writes: list[tuple[Table, list[int]]] = field(default_factory=list)
    deletes: list[tuple[Table, list[int]]] = field(default_factory=list)
    refuses: dict[Table, int] = field(default_factory=dict)
    """The write that contains this offset isn't taken."""
    buffered: dict[Table, int] = field(default_factory=dict)
    """This offset's row can't be deleted yet."""
    unanswered: set[Table] = field(default_factory=set)
    """Nobody answers where the neighbours of its rows are asked for."""
    retention: int = 0
    """Where the log of decisions begins once somebody has read in it."""
    letters: Letters = field(default_factory=Letters)
    came_meanwhile: dict[Table, int] = field(default_factory=dict)
    """Somebody else writes this offset's row while a repair prepares to."""
    at: TopicPartition = field(init=False)
    position_: int = 0

    def assign(self, places: Collection[TopicPartition]) -> None:
        (self.at,) = places

    def seek(self, at: TopicPartition, offset: int) -> None:
        self.position_ = offset

    async def beginning_offsets(self, places: Collection[TopicPartition]) -> dict[TopicPartition, int]:
        return {self.at: self._log.start}

    async def end_offsets(self, places: Collection[TopicPartition]) -> dict[TopicPartition, int]:
        return {self.at: self._log.stop}

    async def committed(self, at: TopicPartition) -> int:
        return self._log.stop

    async def position(self, at: TopicPartition) -> int:
        return self.position_

    async def getmany(self, at: TopicPartition, *, max_records: int, **_: Any) -> Mapping[TopicPartition, list[Any]]:
        if self.position_ < self._log.start:
            raise OffsetOutOfRangeError({at: self.position_})
        offsets = range(self.position_, min(self.position_ + max_records, self._log.stop))
        self.position_ = offsets.stop
        if at.topic == DECISIONS.name and self.retention:
            self.log[at.topic] = range(self.retention, self._log.stop)
        return {at: [ConsumerRecord(at.topic, 0, offset, 0, 0, b"k", b"v", None, 0, 0, ()) for offset in offsets]}

    @property
    def _log(self) -> range:
        return self.log.get(self.at.topic, range(0))

    @asynccontextmanager
    async def reader(self, _: Any) -> AsyncIterator[World]:
        yield self

    def rows(self, _: Any, table: Table, __: Any, low: int, high: int) -> list[tuple[int, Told]]:
        return [(offset, (None, 0)) for offset in self._held(table).elements() if low <= offset < high]

    async def all_letters(self) -> Letters:
        return self.letters

    def delete(self, _: Any, table: Table, __: Any, offsets: Sequence[int]) -> int:
        if self.buffered.get(table) in offsets:
            raise StillBuffered(f"{table.name}: rows are in the streaming buffer")
        if offsets:
            self.deletes.append((table, list(offsets)))
        if table in self.came_meanwhile:
            self._held(table)[self.came_meanwhile.pop(table)] += 1
        return sum(self._held(table).pop(offset, 0) for offset in offsets)

    def relinked(self, _: Any, table: Table, __: Any, rows: Sequence[Row], without: Collection[int]) -> Sequence[Row]:
        if table in self.unanswered:
            raise ServiceUnavailable("not now")
        self.asked.append((sorted(self._held(table)), sorted(without)))
        return rows

    def write(self, _: Any, table: Table, ready: Any) -> int:
        offsets = [row["kafka_offset"] for row in ready.batches]
        if self.refuses.get(table) in offsets:
            raise TransientError("not now")
        if offsets:
            self.writes.append((table, offsets))
        self._held(table).update(offsets)
        return len(offsets)

    def _held(self, table: Table) -> Counter[int]:
        return self.held.setdefault(table, Counter())


def _built(topic: str, records: Sequence[Any], _: Any, refused: frozenset[int]) -> Any:
    offsets = [each.offset for each in records if each.offset not in refused]
    rows = [{"kafka_offset": offset, "kafka_timestamp": 0, "_ingestion_timestamp": 0} for offset in offsets]
    return SimpleNamespace(refused={}, written=len(rows), rows=dict.fromkeys(tables_of(topic), rows))


async def _nobody(*_: Any) -> frozenset[int]:
    return frozenset()


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    world = World()
    monkeypatch.setattr(reconcile, "WINDOW", WINDOW)
    monkeypatch.setattr(verdicts, "build", _built)
    monkeypatch.setattr(verdicts, "refusals_between", _nobody)
    monkeypatch.setattr(reconcile, "rows_between", world.rows)
    monkeypatch.setattr(repair, "group_reader", world.reader)
    monkeypatch.setattr(LetterReader, "all", world.all_letters)
    monkeypatch.setattr(repair, "_delete", world.delete)
    monkeypatch.setattr(repair, "_write", world.write)
    monkeypatch.setattr(repair, "_stream", lambda *_: "stream")
    monkeypatch.setattr(repair, "freeze", lambda _, rows: rows)
    monkeypatch.setattr(repair, "relinked", world.relinked)
    monkeypatch.setattr(erasure_rows, "erased_events", lambda _: set())
    return world


async def repaired() -> Repaired:
    unused = cast(Any, None)
    return await repair.repair(unused, unused, unused, unused, Rules(1, Limits()))


async def test_of_a_table_that_lost_everything_one_window_is_written_at_a_time_in_order(world: World) -> None:
    world.log = {TRANSACTIONS.name: range(3, END)}
    assert await repaired() == Repaired(deleted=0, written=2 * (END - 3))
    for table in tables_of(TRANSACTIONS.name):
        mine = [offsets for written, offsets in world.writes if written is table]
        assert max(map(len, mine)) <= WINDOW
        assert [offset for offsets in mine for offset in offsets] == list(range(3, END))
    assert await repaired() == Repaired(0, 0)


async def test_a_window_that_is_too_much_and_too_little_is_mended_before_the_next(world: World) -> None:
    world.log = {FEATURES.name: range(10)}
    world.held[tables.FEATURES] = Counter({0: 2, 2: 1, 3: 1, 4: 1, 5: 1, 7: 3, 8: 1, 9: 1})
    assert await repaired() == Repaired(deleted=5, written=4)
    assert world.deletes == [(tables.FEATURES, [0]), (tables.FEATURES, [7])]
    assert world.writes == [(tables.FEATURES, [0, 1]), (tables.FEATURES, [6, 7])]
    assert world.held[tables.FEATURES] == Counter(range(10))


async def test_behind_a_window_that_was_not_taken_no_other_of_that_table_and_partition_is_written(
    world: World,
) -> None:
    world.log = {DECISIONS.name: range(END), TRANSACTIONS.name: range(END)}
    world.refuses = {tables.DECISIONS: 7}
    with pytest.raises(TransientError, match="1 batch"):
        await repaired()
    assert world.held[tables.DECISIONS] == Counter(range(WINDOW))
    assert world.held[tables.TRANSACTIONS] == world.held[tables.RAW_TRANSACTIONS] == Counter(range(END))
    world.refuses.clear()
    assert await repaired() == Repaired(0, END - WINDOW)
    assert world.held[tables.DECISIONS] == Counter(range(END))


async def test_once_rows_were_not_taken_nothing_is_deleted_any_more(world: World) -> None:
    world.log = {TRANSACTIONS.name: range(END), DECISIONS.name: range(END)}
    world.held[tables.DECISIONS] = Counter([*range(1, END), 12])
    world.refuses = {tables.TRANSACTIONS: 0}
    with pytest.raises(TransientError, match="1 batch"):
        await repaired()
    assert world.deletes == []
    assert world.held[tables.DECISIONS] == Counter([*range(END), 12])


async def test_a_row_in_the_streaming_buffer_holds_up_its_own_table_and_partition_alone(world: World) -> None:
    world.log = {FEATURES.name: range(END), DECISIONS.name: range(END)}
    twice = Counter([*range(1, END), 2, 7, 12])
    world.held = {tables.FEATURES: twice.copy(), tables.DECISIONS: twice.copy()}
    world.buffered = {tables.FEATURES: 7}
    with pytest.raises(StillBuffered, match="features"):
        await repaired()
    assert world.held[tables.DECISIONS] == Counter(range(END)), "what has to be deleted elsewhere, is"
    assert world.held[tables.FEATURES] == Counter([*range(END), 7, 12]), "behind it, nothing was touched"
    world.buffered.clear()
    assert await repaired() == Repaired(4, 2)


async def test_what_cannot_be_asked_is_asked_before_anything_is_deleted(world: World) -> None:
    world.log = {DECISIONS.name: range(4), DEAD_LETTERS.name: range(4)}
    world.held[tables.DECISIONS] = Counter([0, 1, 1, 3])
    world.unanswered = {tables.DECISIONS}
    with pytest.raises(TransientError, match="1 batch"):
        await repaired()
    assert world.deletes == []
    assert world.held[tables.DEAD_LETTERS] == Counter(range(4)), "the others don't wait for it"
    world.unanswered.clear()
    assert await repaired() == Repaired(2, 2)
    assert world.asked == [([0, 1, 3], [1])], "for links, with the rows still there"


async def test_rows_that_cannot_be_sent_are_known_before_anything_is_deleted(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def freeze(*_: Any) -> Any:
        raise RowInvalid("to order")

    world.log = {FEATURES.name: range(4)}
    world.held[tables.FEATURES] = Counter([0, 1, 1, 2, 3])
    monkeypatch.setattr(repair, "freeze", freeze)
    with pytest.raises(RowInvalid):
        await repaired()
    assert world.deletes == []


async def test_rows_whose_records_retention_takes_meanwhile_stay(world: World) -> None:
    """The first window is read from 0 on, then the log begins at 8: rows before that are nobody's any more."""
    world.log, world.retention = {DECISIONS.name: range(END)}, 8
    world.held[tables.DECISIONS] = Counter([1, 6, 6, 7, 9])
    await repaired()
    assert world.deletes == []
    assert world.held[tables.DECISIONS] == Counter([1, 6, 6, 7, *range(8, END)])


async def test_a_record_that_has_a_letter_gets_no_row_and_loses_the_one_it_has(world: World) -> None:
    """By the rules of today, all of them have rows."""
    world.log = {TRANSACTIONS.name: range(10)}
    world.letters = Letters({(TRANSACTIONS.name, 0): of_anything([2, 7])}, {0: 10}, complete=True)
    world.held[tables.TRANSACTIONS] = Counter([0, 1, 7])
    assert await repaired() == Repaired(deleted=1, written=6 + 8)
    for table in tables_of(TRANSACTIONS.name):
        assert world.held[table] == Counter({0, 1, 3, 4, 5, 6, 8, 9})


async def test_rows_that_a_sink_wrote_since_the_comparison_are_not_written_again(world: World) -> None:
    world.log = {FEATURES.name: range(4), DECISIONS.name: range(4)}
    world.held = {tables.FEATURES: Counter([0]), tables.DECISIONS: Counter([0])}
    world.came_meanwhile = {tables.FEATURES: 2}
    with pytest.raises(TransientError, match="a sink has written 2 meanwhile"):
        await repaired()
    assert world.held[tables.FEATURES] == Counter([0, 2])
    assert world.held[tables.DECISIONS] == Counter(range(4)), "the others don't wait for it"
    assert await repaired() == Repaired(0, 2)
    assert world.held[tables.FEATURES] == Counter(range(4))
