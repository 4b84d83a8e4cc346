"""Settings change, and verdicts don't: who has a letter was refused, and who has none was accepted."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from aiokafka import TopicPartition

from services.sink.letters import Letters
from services.sink.pipeline import Rules
from services.sink.refused import Refused
from services.sink.verdicts import Judged, Verdicts
from shared.contracts import topics
from shared.contracts.transactions import Limits
from shared.kafka.errors import TransientError
from shared.warehouse import tables
from tests.factories import transaction_bytes
from tests.unit.sink.lanes import FakeIndex, of_anything
from tests.unit.sink.records import PARTITIONS, LogRecord, record, vector_bytes

CUSTOMER = "cust_000001"
HOME = record(topics.TRANSACTIONS, b"", key=CUSTOMER).partition
AT = TopicPartition(topics.TRANSACTIONS.name, HOME)
HIGH, LOW = Limits(max_amount=1_000.0), Limits(max_amount=100.0)
"""Of amounts: between the two lies what `large` asks for."""


def small(offset: int) -> LogRecord:
    return record(topics.TRANSACTIONS, transaction_bytes(offset, amount=50.0), offset=offset)


def large(offset: int, partition: int = HOME) -> LogRecord:
    return record(topics.TRANSACTIONS, transaction_bytes(offset, amount=500.0), offset=offset, partition=partition)


@dataclass
class NoIndex(FakeIndex):
    """Its answer must not count."""

    asked: list[int] = field(default_factory=list)

    async def refused_between(self, partition: int, low: int, high: int) -> set[int]:
        self.asked.append(low)
        return await super().refused_between(partition, low, high)


async def judged(
    limits: Limits,
    *records: LogRecord,
    letters: Letters,
    index: FakeIndex | None = None,
    at: TopicPartition = AT,
) -> Judged:
    index = FakeIndex(judged=100) if index is None else index
    return await Verdicts(Rules(PARTITIONS, limits), index, letters).on(at, records, 0, len(records))


def offsets(found: Judged) -> list[int]:
    raw, typed = ([row["kafka_offset"] for row in found.rows[table]] for table in tables.tables_of(AT.topic))
    assert raw == typed
    return raw


def letters_of(*refused: int, settled: int = 100, complete: bool = True) -> Letters:
    return Letters({(AT.topic, AT.partition): of_anything(refused)}, {AT.partition: settled}, complete)


async def test_a_record_that_was_refused_has_no_row_after_its_limit_was_raised() -> None:
    found = await judged(HIGH, small(0), large(1), small(2), letters=letters_of(1))
    assert (offsets(found), found.refused, found.optional) == ([0, 2], 1, frozenset())


async def test_a_record_that_was_accepted_has_its_row_after_its_limit_was_lowered() -> None:
    found = await judged(LOW, small(0), large(1), small(2), letters=letters_of())
    assert (offsets(found), found.refused, found.optional) == ([0, 1, 2], 0, frozenset())


async def test_a_letter_counts_before_the_offset_of_its_record_is_committed() -> None:
    found = await judged(HIGH, small(0), large(1), letters=letters_of(1, settled=1))
    assert offsets(found) == [0]


async def test_what_was_not_judged_yet_is_judged_by_the_rules_of_today_and_by_state() -> None:
    records = [large(0), large(1), small(2), small(3)]
    index = FakeIndex(judged=100, refused={0, 3})
    found = await judged(LOW, *records, letters=letters_of(settled=1), index=index)
    assert (offsets(found), found.optional) == ([0, 2], frozenset()), "of what is settled, letters tell"


async def test_redis_is_not_asked_where_letters_tell_all() -> None:
    index = NoIndex(judged=-1, refused={0})
    found = await judged(HIGH, small(0), small(1), letters=letters_of(1, settled=2), index=index)
    assert (offsets(found), index.asked) == ([0], [])


async def test_states_that_are_being_rebuilt_leave_open_what_letters_do_not_tell() -> None:
    with pytest.raises(TransientError):
        await judged(HIGH, small(0), small(1), letters=letters_of(settled=1), index=FakeIndex(judged=0))


async def test_where_letters_were_lost_today_and_redis_decide_and_no_row_is_made_or_taken_for_a_lower_limit() -> None:
    letters = letters_of(1, complete=False)
    index = FakeIndex(judged=100, refused={2})
    records = [small(0), large(1), small(2), large(3)]
    found = await judged(HIGH, *records, letters=letters, index=index)
    assert (offsets(found), found.optional) == ([0, 3], frozenset())
    found = await judged(LOW, *records, letters=letters, index=index)
    assert (offsets(found), found.optional) == ([0, 3], frozenset({3}))


async def test_of_a_record_in_a_wrong_partition_whose_letter_is_its_copys_nothing_is_wanted_and_nothing_taken() -> None:
    elsewhere = (HOME + 1) % PARTITIONS
    letters = Letters({}, {elsewhere: 100}, complete=True)
    at = TopicPartition(AT.topic, elsewhere)
    found = await judged(LOW, large(0, partition=elsewhere), letters=letters, at=at)
    assert (offsets(found), found.optional) == ([0], frozenset({0}))


async def test_no_limit_makes_a_row_of_what_cannot_be_read() -> None:
    broken = record(topics.TRANSACTIONS, b"{", offset=0)
    found = await judged(HIGH, broken, letters=letters_of())
    assert (offsets(found), found.refused) == ([], 1)


async def test_a_vector_that_was_refused_has_no_row() -> None:
    at = TopicPartition(topics.FEATURES.name, HOME)
    vectors = [record(topics.FEATURES, vector_bytes(number), offset=number) for number in range(2)]
    letters = Letters({(at.topic, at.partition): of_anything([0])}, {HOME: 100}, complete=True)
    found = await Verdicts(Rules(PARTITIONS, LOW), FakeIndex(), letters).on(at, vectors, 0, 2)
    assert [row["kafka_offset"] for row in found.rows[tables.FEATURES]] == [1]


async def test_a_letter_of_what_lay_there_before_the_log_lost_its_end_refuses_nothing() -> None:
    letters = Letters({(AT.topic, AT.partition): Refused({1: (b"another.",)})}, {AT.partition: 100}, complete=True)
    found = await judged(HIGH, small(0), small(1), letters=letters)
    assert (offsets(found), found.refused) == ([0, 1], 0)
