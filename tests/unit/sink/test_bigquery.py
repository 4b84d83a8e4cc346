"""The writer against every answer that the Storage Write API may give."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import pytest
from google.cloud.bigquery_storage_v1 import types
from prometheus_client import REGISTRY

from services.sink import append, bigquery
from services.sink.bigquery import FencedOff, PartitionWriter, StreamLost
from shared.kafka.errors import TransientError
from shared.warehouse.columns import RowInvalid
from tests.unit.sink.fakes import CODE, PARTITION, Broken, FakeCall, FakeNames, FakeWrites, rows, writer


@pytest.fixture
def threads(monkeypatch: pytest.MonkeyPatch) -> Iterator[ThreadPoolExecutor]:
    monkeypatch.setattr(bigquery, "FIRST_PAUSE_S", 0.001)
    monkeypatch.setattr(bigquery, "LONGEST_PAUSE_S", 0.001)
    with ThreadPoolExecutor(4) as pool:
        yield pool


async def test_batches_follow_each_other_on_one_connection(threads: ThreadPoolExecutor) -> None:
    writes = FakeWrites()
    mine = writer(writes, FakeNames(), threads)
    assert await mine.open() == -1
    await mine.append(rows([0, 1, 5]))
    await mine.append(rows([6]))
    assert writes.offsets == [0, 1, 5, 6]
    assert len(writes.streams) == 1


async def test_the_stream_is_stored_before_anything_is_appended(threads: ThreadPoolExecutor) -> None:
    writes, names = FakeWrites(), FakeNames()
    mine = writer(writes, names, threads)
    await mine.open()
    assert names.held == {mine.place: "streams/0"}
    assert writes.appends == 0


@pytest.mark.parametrize("code", [CODE.UNAVAILABLE, CODE.UNKNOWN, CODE.INTERNAL, CODE.ABORTED, CODE.CANCELLED])
async def test_an_acknowledgement_that_is_lost_doubles_nothing(
    threads: ThreadPoolExecutor, code: grpc.StatusCode
) -> None:
    writes = FakeWrites(lost=[None, code])
    mine = writer(writes, FakeNames(), threads)
    await mine.open()
    await mine.append(rows([0]))
    await mine.append(rows([1, 2]))
    await mine.append(rows([3]))
    assert writes.offsets == [0, 1, 2, 3]
    assert writes.appends == 4


@pytest.mark.parametrize("code", [CODE.UNAVAILABLE, CODE.RESOURCE_EXHAUSTED, CODE.INVALID_ARGUMENT, CODE.INTERNAL])
async def test_an_append_that_did_not_land_is_sent_again(threads: ThreadPoolExecutor, code: grpc.StatusCode) -> None:
    writes = FakeWrites(before=[code, code])
    mine = writer(writes, FakeNames(), threads)
    await mine.open()
    await mine.append(rows([0, 1]))
    assert writes.offsets == [0, 1]


async def test_already_exists_on_a_first_attempt_is_no_success(threads: ThreadPoolExecutor) -> None:
    writes = FakeWrites()
    mine = writer(writes, FakeNames(), threads)
    await mine.open()
    writes.streams["streams/0"].rows = 3  # rows that this writer knows nothing of
    with pytest.raises(StreamLost):
        await mine.append(rows([0]))


@pytest.mark.parametrize("code", [CODE.OUT_OF_RANGE, CODE.NOT_FOUND, CODE.FAILED_PRECONDITION])
async def test_a_stream_that_can_not_be_gone_on_with_is_given_up(
    threads: ThreadPoolExecutor, code: grpc.StatusCode
) -> None:
    writes = FakeWrites(before=[None, code])
    mine = writer(writes, FakeNames(), threads)
    await mine.open()
    await mine.append(rows([0]))
    with pytest.raises(StreamLost):
        await mine.append(rows([1]))
    assert await mine.open() == 0
    await mine.append(rows([0, 1]))
    assert writes.offsets == [0, 1]


async def test_a_stream_that_never_succeeds_is_given_up(
    threads: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bigquery, "PATIENCE_S", 0.0)
    writes = FakeWrites(before=[CODE.INTERNAL] * 3)
    mine = writer(writes, FakeNames(), threads)
    await mine.open()
    with pytest.raises(StreamLost, match="INTERNAL"):
        await mine.append(rows([0]))


async def test_a_successor_seals_the_stream_and_the_late_append_of_a_zombie_is_refused(
    threads: ThreadPoolExecutor,
) -> None:
    writes, names = FakeWrites(), FakeNames()
    zombie, successor = writer(writes, names, threads), writer(writes, names, threads)
    await zombie.open()
    await zombie.append(rows([0, 1]))
    assert await successor.open() == 1
    with pytest.raises(FencedOff):
        await zombie.append(rows([2]))
    await successor.append(rows([1, 2]))
    assert writes.offsets == [0, 1, 2]


async def test_its_own_stream_is_sealed_where_its_name_is_lost(
    threads: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An append that nobody answered may land after the table was asked for its last row."""
    monkeypatch.setattr(bigquery, "PATIENCE_S", 0.0)
    writes, names = FakeWrites(before=[CODE.UNAVAILABLE]), FakeNames()
    mine = writer(writes, names, threads)
    await mine.open()
    with pytest.raises(StreamLost):
        await mine.append(rows([0, 1]))
    names.held.clear()  # FLUSHALL
    await mine.open()
    assert [stream.sealed for stream in writes.streams.values()] == [True, False]


@pytest.fixture
def always_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    """At its stream's name, before each append."""
    monkeypatch.setattr(bigquery, "CONFIRM_S", 0.0)


@pytest.mark.usefixtures("always_looks")
async def test_a_name_that_redis_has_lost_is_put_back_so_that_a_successor_can_seal_the_stream(
    threads: ThreadPoolExecutor,
) -> None:
    writes, names = FakeWrites(), FakeNames()
    first = writer(writes, names, threads)
    await first.open()
    held = dict(names.held)
    names.held.clear()  # FLUSHALL
    await first.append(rows([0]))
    assert names.held == held
    await writer(writes, names, threads).open()
    with pytest.raises(FencedOff):
        await first.append(rows([1]))
    assert writes.offsets == [0]


@pytest.mark.usefixtures("always_looks")
async def test_where_redis_comes_back_with_the_name_before_ours_is_put_in_its_place(
    threads: ThreadPoolExecutor,
) -> None:
    writes, names = FakeWrites(), FakeNames()
    await writer(writes, names, threads).open()
    before = dict(names.held)
    mine = writer(writes, names, threads)
    await mine.open()
    held = dict(names.held)
    names.held |= before  # the tail of its log is lost
    await mine.append(rows([0]))
    assert (names.held, writes.offsets) == (held, [0])


@pytest.mark.usefixtures("always_looks")
async def test_who_woke_up_beside_a_successor_that_did_not_know_his_stream_appends_nothing_and_seals_it(
    threads: ThreadPoolExecutor,
) -> None:
    writes, names = FakeWrites(), FakeNames()
    zombie, successor = writer(writes, names, threads), writer(writes, names, threads)
    await zombie.open()
    await zombie.append(rows([0]))
    names.held.clear()  # while he sleeps
    await successor.open()
    await successor.append(rows([1, 2]))
    with pytest.raises(FencedOff):
        await zombie.append(rows([1, 2]))
    assert writes.offsets == [0, 1, 2]
    assert [stream.sealed for stream in writes.streams.values()] == [True, False]


@pytest.mark.usefixtures("always_looks")
async def test_while_redis_is_away_rows_are_appended_all_the_same(threads: ThreadPoolExecutor) -> None:
    class Away(FakeNames):
        async def current(self, place: str) -> str | None:
            if self.held:
                raise TransientError("redis")
            return None

    writes = FakeWrites()
    mine = writer(writes, Away(), threads)
    await mine.open()
    await mine.append(rows([0, 1]))
    assert writes.offsets == [0, 1]


async def test_of_two_that_take_over_at_once_only_one_may_append(threads: ThreadPoolExecutor) -> None:
    writes, names = FakeWrites(), FakeNames()

    class Overtaken(FakeNames):
        async def replace(self, place: str, expected: str | None, name: str) -> bool:
            names.held[place] = "streams/of-the-other"
            return await names.replace(place, expected, name)

    slow = writer(writes, Overtaken(), threads)
    with pytest.raises(TransientError, match="another process"):
        await slow.open()
    with pytest.raises(StreamLost, match="not open"):
        await slow.append(rows([0]))
    assert writes.offsets == []


async def test_rows_that_the_table_holds_already_are_not_sent(threads: ThreadPoolExecutor) -> None:
    writes, names = FakeWrites(), FakeNames()
    first = writer(writes, names, threads)
    await first.open()
    await first.append(rows([3, 4]))
    second = writer(writes, names, threads)
    assert await second.open() == 4
    await second.append(rows([2, 3, 4]))
    assert writes.offsets == [3, 4]


async def test_a_row_of_a_wrong_type_is_never_sent(threads: ThreadPoolExecutor) -> None:
    writes = FakeWrites()
    mine = writer(writes, FakeNames(), threads)
    await mine.open()
    with pytest.raises(RowInvalid):
        await mine.append(rows([0, 1], note=17))
    assert writes.appends == 0


async def test_large_rows_are_split_below_the_limit_and_keep_their_order(
    threads: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(append, "MAX_APPEND_BYTES", 10_000)
    writes = FakeWrites()
    mine = writer(writes, FakeNames(), threads)
    await mine.open()
    await mine.append(rows(range(40), note="x" * 1000))
    assert writes.offsets == list(range(40))
    assert writes.appends >= 4


class HangingOnce(FakeWrites):
    """Doesn't answer the first append until the call is cancelled."""

    def __init__(self) -> None:
        super().__init__()
        self.cancelled = threading.Event()

    def append_rows(self, requests: Iterator[types.AppendRowsRequest], **_: Any) -> FakeCall:
        server = self

        class Call(FakeCall):
            def __next__(self) -> types.AppendRowsResponse:
                if not server.cancelled.is_set():
                    assert server.cancelled.wait(30)
                    raise Broken(CODE.CANCELLED)
                return super().__next__()

            def cancel(self) -> None:
                server.cancelled.set()

        return Call(self, requests)


async def test_a_server_that_does_not_answer_is_asked_anew_after_the_deadline(
    threads: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bigquery, "APPEND_TIMEOUT_S", 0.05)
    writes = HangingOnce()
    mine = writer(writes, FakeNames(), threads)
    await mine.open()
    await mine.append(rows([0]))
    assert writes.cancelled.is_set()
    assert writes.offsets == [0]


def waiting(mine: PartitionWriter) -> float | None:
    return REGISTRY.get_sample_value("flit_sink_waiting", {"table": mine.table.id, "partition": str(PARTITION)})


async def test_a_writer_that_leaves_while_appends_fail_no_longer_says_that_they_do(threads: ThreadPoolExecutor) -> None:
    writes = FakeWrites(before=[CODE.UNAVAILABLE] * 100_000)
    mine = writer(writes, FakeNames(), threads)
    await mine.open()
    appending = asyncio.create_task(mine.append(rows([0])))
    async with asyncio.timeout(10):
        while not waiting(mine):  # noqa: ASYNC110 - a writer tells nobody how far it is
            await asyncio.sleep(0.001)
    mine.close()
    assert waiting(mine) == 1, "another connection mends nothing"
    appending.cancel()
    await asyncio.gather(appending, return_exceptions=True)
    mine.leave()
    assert waiting(mine) is None and not mine.failing
