"""Where letters are read, and what they tell."""

from __future__ import annotations

import hashlib
import json
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any, cast

import pytest
from aiokafka import TopicPartition
from aiokafka.errors import CorruptRecordException, KafkaConnectionError, OffsetOutOfRangeError
from google.api_core.exceptions import ServiceUnavailable

from services.sink import letters as letters_module
from services.sink.letters import LetterReader, Letters, _Place
from services.sink.refused import HASH_BYTES, LettersUnreadable, Refused
from shared.contracts.topics import DEAD_LETTERS, FEATURES, OUTCOMES, TRANSACTIONS
from shared.kafka import groups
from shared.kafka.errors import TransientError
from shared.settings import KafkaSettings
from tests.unit.sink.records import LogRecord

PARTITIONS = 2
LETTERS = [TopicPartition(DEAD_LETTERS.name, number) for number in range(PARTITIONS)]


def letter(topic: str, partition: int, offset: int, reason: str = "range", sha: str | None = None) -> _Place:
    return _Place(reason, topic, partition, offset, sha)


def purchase(offset: int, partition: int = 0, sha: str | None = None) -> _Place:
    return letter(TRANSACTIONS.name, partition, offset, sha=sha)


def offsets(letters: Letters) -> dict[tuple[str, int], set[int]]:
    return {source: set(refused.hashes) for source, refused in letters.refused.items()}


@dataclass
class World:
    """The letters' topic, its table, and what groups have committed."""

    topic: dict[int, list[_Place | None]] = field(default_factory=lambda: {0: [], 1: []})
    """None: no letter of ours."""
    table: dict[tuple[int, int], _Place] = field(default_factory=dict)
    first: dict[int, int] = field(default_factory=lambda: {0: 0, 1: 0})
    committed_: dict[int, int | None] = field(default_factory=lambda: {0: None, 1: None})
    judged: dict[int, int] = field(default_factory=dict)
    steps: list[str] = field(default_factory=list)
    read: list[tuple[int, int]] = field(default_factory=list)
    failure: Exception | None = None
    at: dict[TopicPartition, int] = field(default_factory=dict)

    def mirror(self, partition: int, up_to: int) -> None:
        """As the sink does, commit included."""
        for offset in range(up_to):
            place = self.topic[partition][offset]
            assert place is not None
            self.table[partition, offset] = place
        self.committed_[partition] = up_to

    @asynccontextmanager
    async def reader(self, _: Any) -> AsyncIterator[World]:
        yield self

    @asynccontextmanager
    async def admin(self, _: Any) -> AsyncIterator[None]:
        yield None

    async def group(self, _: Any, name: str, places: Sequence[TopicPartition]) -> dict[TopicPartition, int]:
        assert name == "flit-features"
        self.steps.append("judged")
        return {at: self.judged[at.partition] for at in places if at.partition in self.judged}

    def assign(self, places: Collection[TopicPartition]) -> None:
        self.steps.append("letters")

    async def beginning_offsets(self, places: Collection[TopicPartition]) -> dict[TopicPartition, int]:
        return {at: self.first[at.partition] for at in places}

    async def end_offsets(self, places: Collection[TopicPartition]) -> dict[TopicPartition, int]:
        return {at: len(self.topic[at.partition]) for at in places}

    async def committed(self, at: TopicPartition) -> int | None:
        self.steps.append("committed")
        return self.committed_[at.partition]

    def seek(self, at: TopicPartition, offset: int) -> None:
        self.at[at] = offset

    async def position(self, at: TopicPartition) -> int:
        return self.at[at]

    async def getmany(self, *places: TopicPartition, **_: Any) -> Mapping[TopicPartition, list[LogRecord]]:
        if self.failure is not None:
            failure, self.failure = self.failure, None
            raise failure
        batch = {}
        for at in places:
            offset = self.at[at]
            self.at[at] += 1
            self.read.append((at.partition, offset))
            place = self.topic[at.partition][offset]
            value = (
                b"{" if place is None else json.dumps({n: getattr(place, n) for n in place.__struct_fields__}).encode()
            )
            batch[at] = [LogRecord(at.topic, at.partition, offset, 0, None, value)]
        return batch

    def mirrored(self, _: Any, below: Mapping[TopicPartition, int]) -> dict[int, int]:
        self.steps.append("table")
        counts = {at.partition: sum((at.partition, n) in self.table for n in range(end)) for at, end in below.items()}
        return {partition: count for partition, count in counts.items() if count}

    def rows(self, *_: Any) -> list[_Place]:
        self.steps.append("table")
        return list(self.table.values())


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    world = World()
    monkeypatch.setattr(letters_module, "group_reader", world.reader)
    monkeypatch.setattr(letters_module, "admin_client", world.admin)
    monkeypatch.setattr(groups, "committed", world.group)
    monkeypatch.setattr(letters_module, "_mirrored", world.mirrored)
    monkeypatch.setattr(letters_module, "_rows", world.rows)
    return world


def reader() -> LetterReader:
    return LetterReader(KafkaSettings(partitions=PARTITIONS), cast(Any, None))


async def test_letters_are_those_of_the_table_and_what_the_sink_has_still_to_mirror(world: World) -> None:
    world.topic = {0: [purchase(3), purchase(8), purchase(9)], 1: [purchase(1, 1)]}
    world.mirror(0, 2)
    found = await reader().all()
    assert offsets(found) == {(TRANSACTIONS.name, 0): {3, 8, 9}, (TRANSACTIONS.name, 1): {1}}
    assert found.complete
    assert sorted(world.read) == [(0, 2), (1, 0)], "what the table has isn't read again"


async def test_where_the_table_lost_rows_all_of_the_topic_is_read(world: World) -> None:
    world.topic[0] = [purchase(3), purchase(8), purchase(9)]
    world.mirror(0, 3)
    del world.table[0, 1]
    found = await reader().all()
    assert offsets(found) == {(TRANSACTIONS.name, 0): {3, 8, 9}}
    assert found.complete


async def test_letters_that_retention_took_are_missed_only_where_the_table_lacks_them(world: World) -> None:
    world.topic[0] = [purchase(3), purchase(8), purchase(9)]
    world.mirror(0, 2)
    world.first[0] = 2
    assert (await reader().all()).complete
    del world.table[0, 0]
    found = await reader().all()
    assert (offsets(found), found.complete) == ({(TRANSACTIONS.name, 0): {8, 9}}, False)


async def test_a_topic_that_was_made_anew_is_read_from_its_beginning(world: World) -> None:
    world.topic[0] = [purchase(3), purchase(8), purchase(9)]
    world.mirror(0, 3)
    world.topic[0] = [purchase(11)]
    assert offsets(await reader().all()) == {(TRANSACTIONS.name, 0): {3, 8, 9, 11}}


async def test_what_was_judged_is_asked_before_the_letters_and_what_is_mirrored_before_the_table(world: World) -> None:
    world.judged = {1: 17}
    found = await reader().all()
    assert found.settled == {1: 17}
    assert list(dict.fromkeys(world.steps)) == ["judged", "letters", "committed", "table"]


async def test_letters_of_no_record_and_of_vectors_without_a_decision_of_their_own_refuse_no_row(world: World) -> None:
    vectors = [letter(FEATURES.name, 0, 1, "conflict"), letter(FEATURES.name, 0, 2, "shape")]
    world.topic[0] = [letter("history", -1, 5), *vectors, letter(OUTCOMES.name, 1, 4, "conflict"), None]
    found = await reader().all()
    assert offsets(found) == {(FEATURES.name, 0): {2}, (OUTCOMES.name, 1): {4}}


async def test_a_stretch_of_one_partition_is_asked_with_both_its_ends(world: World) -> None:
    world.topic = {0: [purchase(3), purchase(4), purchase(7)], 1: [purchase(5, 1), purchase(8), letter("x", 0, 5)]}
    world.mirror(0, 2)
    assert set((await reader().between(0, 4, 7)).hashes) == {4, 7}
    assert not (await reader().between(0, 5, 6)).hashes


async def test_letters_that_retention_takes_while_they_are_read_are_no_failure(world: World) -> None:
    world.topic[0] = [purchase(3)]
    world.failure = OffsetOutOfRangeError({LETTERS[0]: 0})
    assert set((await reader().between(0, 0, 9)).hashes) == {3}


@pytest.mark.parametrize("failure", [KafkaConnectionError("away"), ServiceUnavailable("not now"), OSError("cut")])
async def test_whoever_does_not_answer_is_waited_for(world: World, failure: Exception) -> None:
    world.topic[0], world.failure = [purchase(3)], failure
    with pytest.raises(TransientError, match="letters of bnpl-transactions-0"):
        await reader().between(0, 0, 9)


def test_a_letter_is_of_the_record_that_lay_there_then() -> None:
    at, there = TopicPartition(TRANSACTIONS.name, 0), LogRecord(TRANSACTIONS.name, 0, 7, 0, None, b"there")
    digest = hashlib.sha256(b"there").digest()[:HASH_BYTES]
    for hashes, refused in (((digest,), {7}), ((b"another", digest), {7}), ((b"another",), set()), ((), {7})):
        letters = Letters({(at.topic, 0): Refused({7: hashes})})
        assert letters.of(at).among([there, replace(there, offset=8)]) == refused
        assert letters.of(TopicPartition(at.topic, 1)).among([there]) == frozenset()


async def test_of_two_letters_on_one_place_each_names_its_own_record(world: World) -> None:
    world.topic[0] = [purchase(3, sha="11" * 32), purchase(3, sha="22" * 32), purchase(4, sha="33" * 32), purchase(4)]
    found = (await reader().between(0, 0, 9)).hashes
    assert found == {3: (b"\x11" * 8, b"\x22" * 8), 4: ()}


async def test_a_damaged_letter_is_told_from_brokers_that_are_away(world: World) -> None:
    world.topic[0], world.failure = [purchase(3)], CorruptRecordException("checksum")
    with pytest.raises(LettersUnreadable):
        await reader().between(0, 0, 9)
