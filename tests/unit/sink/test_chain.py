"""The chain of decisions: whatever ends a writer, each row follows the one before it."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any, cast

import pytest
from aiokafka import TopicPartition
from hypothesis import given
from hypothesis import strategies as st

from services.sink import append, bigquery
from services.sink.bigquery import FencedOff, StreamLost
from services.sink.chain import Link, beginning, chained, link, restored
from services.sink.relink import relinked
from shared.warehouse.columns import Row
from shared.warehouse.tables import CHAIN, DECISIONS
from tests.unit.sink.fakes import CODE, PARTITION, FakeNames, FakeWrites, decisions, writer

TOPIC = "risk-decisions"
BEGIN = beginning(TOPIC, PARTITION)


@pytest.fixture
def threads(monkeypatch: pytest.MonkeyPatch) -> Iterator[ThreadPoolExecutor]:
    monkeypatch.setattr(bigquery, "FIRST_PAUSE_S", 0.001)
    monkeypatch.setattr(bigquery, "LONGEST_PAUSE_S", 0.001)
    with ThreadPoolExecutor(4) as pool:
        yield pool


def expected(offsets: Sequence[int]) -> list[str]:
    """By the words of the documentation."""
    links, before = [], hashlib.sha256(b"risk-decisions:2").hexdigest()
    for offset in offsets:
        before = hashlib.sha256(f"{before}:{offset}:{offset:064x}".encode()).hexdigest()
        links.append(before)
    return links


async def test_rows_follow_each_other_over_batches_and_gaps(threads: ThreadPoolExecutor) -> None:
    writes = FakeWrites()
    mine = writer(writes, FakeNames(), threads, DECISIONS)
    await mine.open()
    await mine.append(decisions([0, 1, 5]))
    await mine.append(decisions([9]))
    assert writes.links == expected([0, 1, 5, 9])


async def test_a_successor_goes_on_from_the_last_row_that_the_table_has(threads: ThreadPoolExecutor) -> None:
    writes, names = FakeWrites(), FakeNames()
    zombie, successor = writer(writes, names, threads, DECISIONS), writer(writes, names, threads, DECISIONS)
    await zombie.open()
    await zombie.append(decisions([0, 1]))
    assert await successor.open() == 1
    with pytest.raises(FencedOff):
        await zombie.append(decisions([2]))
    await successor.append(decisions([1, 2, 3]))
    assert writes.links == expected([0, 1, 2, 3])


async def test_what_a_lost_stream_took_of_a_batch_is_followed_by_the_rest(
    threads: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(append, "MAX_APPEND_BYTES", 2_000)  # several appends for one batch
    writes = FakeWrites(before=[None, None, CODE.NOT_FOUND])
    mine = writer(writes, FakeNames(), threads, DECISIONS)
    await mine.open()
    with pytest.raises(StreamLost):
        await mine.append(decisions(range(40)))
    taken = await mine.open()
    assert 0 <= taken < 39
    await mine.append(decisions(range(40)))
    assert writes.links == expected(range(40))


async def test_a_lane_that_is_taken_over_again_reads_on_from_its_own_last_row(threads: ThreadPoolExecutor) -> None:
    """All of a partition's past would be read, and billed, at each attempt."""
    writes = FakeWrites()
    mine = writer(writes, FakeNames(), threads, DECISIONS)
    await mine.open()
    await mine.append(decisions([0, 1, 5]))
    assert await mine.open() == 5
    await mine.append(decisions([6]))
    assert (writes.asked, writes.links) == ([0, 5], expected([0, 1, 5, 6]))
    writes.offsets, writes.links = [0, 1], writes.links[:2]  # somebody has brought the table back from a snapshot
    assert await mine.open() == 1
    await mine.append(decisions([5, 6]))
    assert (writes.asked, writes.links) == ([0, 5, 6, 0], expected([0, 1, 5, 6]))


async def test_where_its_last_row_is_not_in_the_chain_the_whole_past_is_asked_for_the_link(
    threads: ThreadPoolExecutor,
) -> None:
    writes = FakeWrites()
    mine = writer(writes, FakeNames(), threads, DECISIONS)
    await mine.open()
    await mine.append(decisions([0, 1]))
    writes.links[1] = None
    assert await mine.open() == 1
    await mine.append(decisions([2]))
    assert (writes.asked, writes.links[2]) == ([0, 1, 0], expected([0, 2])[1])


async def test_a_lost_acknowledgement_breaks_no_link(threads: ThreadPoolExecutor) -> None:
    writes = FakeWrites(lost=[CODE.UNAVAILABLE])
    mine = writer(writes, FakeNames(), threads, DECISIONS)
    await mine.open()
    await mine.append(decisions([0, 1]))
    await mine.append(decisions([2]))
    assert writes.links == expected([0, 1, 2])


async def test_rows_older_than_the_chain_are_not_in_it(threads: ThreadPoolExecutor) -> None:
    writes = FakeWrites(offsets=[0, 1, 2], links=[None, None, None])
    mine = writer(writes, FakeNames(), threads, DECISIONS)
    assert await mine.open() == 2
    await mine.append(decisions([3, 4]))
    assert writes.links[3:] == expected([3, 4])


def link_of(row: Row) -> Link:
    return Link(row["kafka_offset"], row["record_sha256"], row[CHAIN.name])


@given(st.sets(st.integers(0, 60), min_size=1), st.data())
def test_rows_written_again_have_the_links_that_they_had(offsets: set[int], data: st.DataObject) -> None:
    whole = chained(decisions(sorted(offsets)), BEGIN)
    gone = data.draw(st.sets(st.sampled_from(sorted(offsets))))
    present = [link_of(row) for row in whole if row["kafka_offset"] not in gone]
    missing = [row | {CHAIN.name: None} for row in whole if row["kafka_offset"] in gone]
    assert restored(missing, present, BEGIN) == [row for row in whole if row["kafka_offset"] in gone]


@given(st.sets(st.integers(0, 60), min_size=2), st.data())
def test_rows_that_never_were_in_the_chain_stay_beside_it(offsets: set[int], data: st.DataObject) -> None:
    *others, last = sorted(offsets)
    late = data.draw(st.sets(st.sampled_from(others)))
    present = [link_of(row) for row in chained(decisions([at for at in [*others, last] if at not in late]), BEGIN)]
    found = restored(decisions(sorted(late)), present, BEGIN)
    assert [(row["kafka_offset"], row[CHAIN.name]) for row in found] == [(at, None) for at in sorted(late)]


def test_a_row_behind_all_others_goes_on_from_the_last() -> None:
    (row,) = restored(decisions([7]), [link_of(each) for each in chained(decisions([3]), BEGIN)], BEGIN)
    assert row[CHAIN.name] == expected([3, 7])[1]


class Table:
    """Answers what `relinked` asks of it: the neighbours of a stretch, then the chain between them."""

    project = "p"

    def __init__(self, rows: Sequence[Row]) -> None:
        self._rows = rows

    def query(self, sql: str, **_: Any) -> Any:
        first, second = (int(number) for number in re.findall(r"(?:<|>|BETWEEN|AND) (\d+)\b", sql))
        at = [row["kafka_offset"] for row in self._rows]
        if "BETWEEN" in sql:
            names = ("kafka_offset", "record_sha256", CHAIN.name)
            found = [tuple(row[name] for name in names) for row in self._rows if first <= row["kafka_offset"] <= second]
        else:
            found = [
                (max((n for n in at if n < first), default=None), min((n for n in at if n > second), default=None))
            ]
        return SimpleNamespace(result=lambda **_: [SimpleNamespace(values=lambda row=row: row) for row in found])


@given(st.sets(st.integers(0, 60), min_size=1), st.data())
def test_links_are_found_while_rows_that_are_about_to_go_are_there_still(
    offsets: set[int], data: st.DataObject
) -> None:
    whole = chained(decisions(sorted(offsets)), BEGIN)
    again = data.draw(st.sets(st.sampled_from(sorted(offsets)), min_size=1))
    going = again | data.draw(st.sets(st.integers(0, 60).filter(lambda at: at not in offsets)))
    spoilt = [row | {CHAIN.name: "of another log"} for row in decisions(sorted(going))]
    table = cast(Any, Table([row for row in whole if row["kafka_offset"] not in going] + spoilt))
    rows = [row | {CHAIN.name: None} for row in whole if row["kafka_offset"] in again]
    found = relinked(table, DECISIONS, TopicPartition(TOPIC, PARTITION), rows, going)
    assert found == [row for row in whole if row["kafka_offset"] in again]


def test_offset_and_partition_are_in_the_link() -> None:
    assert link(BEGIN, 1, "ab") != link(BEGIN, 2, "ab")
    assert beginning(TOPIC, 1) != beginning(TOPIC, 2)
