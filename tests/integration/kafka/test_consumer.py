"""The consumer loop on a real broker: what is committed, and what comes again."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.consumer.fetcher import Fetcher, FetchResult
from aiokafka.errors import CorruptRecordException
from prometheus_client import REGISTRY

from shared.kafka.consumer import Batch, BatchConsumer
from shared.kafka.errors import TransientError
from shared.kafka.producer import OutgoingRecord, ReliableProducer
from shared.kafka.watchdog import LogEnds, Stalled, watch
from shared.settings import KafkaSettings

RECORDS = 20


@pytest.fixture
async def topic(kafka: KafkaSettings, empty_topic: str) -> str:
    """With `RECORDS` records."""
    await fill(kafka, empty_topic, [number % 2 for number in range(RECORDS)])
    return empty_topic


async def fill(kafka: KafkaSettings, topic: str, partitions: Sequence[int]) -> None:
    """With a number for each of `partitions`, counted from 0."""
    producer = ReliableProducer(kafka)
    await producer.start()
    await producer.send_all(
        [OutgoingRecord(topic, None, b"%d" % number, partition=place) for number, place in enumerate(partitions)]
    )
    await producer.stop()


class Member:
    """One process of a group, and what happened to it."""

    def __init__(self, kafka: KafkaSettings, topic: str, name: str | None) -> None:
        settings = kafka.model_copy(update={"group_instance_id": name})
        self.held: set[int] = set()
        self.seen: list[int] = []
        self.revoked = 0
        self._consumer = BatchConsumer(
            settings, service=f"test-{topic}", topics=[topic], on_assigned=self._take, on_revoked=self._lose
        )
        self._stop = asyncio.Event()
        self._task = asyncio.create_task(self._consumer.run(self._note, self._stop))

    async def stop(self) -> None:
        self._stop.set()
        async with asyncio.timeout(60):
            await self._task

    async def _note(self, batch: Batch) -> None:
        self.seen += numbers_of(batch)

    async def _take(self, partitions: set[TopicPartition]) -> None:
        self.held = {partition.partition for partition in partitions}

    async def _lose(self, partitions: set[TopicPartition]) -> None:
        if partitions:
            self.revoked += 1


def numbers_of(batch: Batch) -> list[int]:
    return [int(record.value or b"") for records in batch.values() for record in records]


async def until(done: Callable[[], bool], patience_s: float = 40.0) -> None:
    async with asyncio.timeout(patience_s):
        while not done():  # noqa: ASYNC110 (what the client tells comes by callback)
            await asyncio.sleep(0.05)


async def consume(
    kafka: KafkaSettings,
    topic: str,
    handle: Callable[[list[int]], Awaitable[None]],
    stop: asyncio.Event,
    max_records: int = 3,
) -> None:
    async def take(batch: Batch) -> None:
        await handle(numbers_of(batch))

    consumer = BatchConsumer(kafka, service=f"test-{topic}", topics=[topic], max_records=max_records)
    async with asyncio.timeout(60):
        await consumer.run(take, stop)


async def test_a_stop_commits_what_was_done_and_the_next_run_goes_on_there(kafka: KafkaSettings, topic: str) -> None:
    seen: list[int] = []

    def until(count: int, stop: asyncio.Event) -> Callable[[list[int]], Awaitable[None]]:
        async def handle(numbers: list[int]) -> None:
            seen.extend(numbers)
            if len(seen) >= count:
                stop.set()

        return handle

    for count in (RECORDS // 2, RECORDS):
        stop = asyncio.Event()
        await consume(kafka, topic, until(count, stop), stop)
    assert sorted(seen) == list(range(RECORDS))


async def test_what_a_failed_poll_has_taken_of_other_partitions_comes_again(
    kafka: KafkaSettings, topic: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A batch with a wrong checksum, as a broken disk gives it, in a poll that has taken another partition's."""
    whole = FetchResult.getall
    in_this_poll: list[Any] = []
    failures: list[FetchResult] = []

    def getall(result: FetchResult, max_records: int | None = None) -> list[Any]:
        if in_this_poll and not failures:
            failures.append(result)
            raise CorruptRecordException("checksum")
        records: list[Any] = whole(result, max_records)
        in_this_poll.extend(records)
        return records

    poll = Fetcher.fetched_records

    async def fetched_records(fetcher: Fetcher, *asked: Any, **how: Any) -> Any:
        in_this_poll.clear()
        return await poll(fetcher, *asked, **how)

    monkeypatch.setattr(FetchResult, "getall", getall)
    monkeypatch.setattr(Fetcher, "fetched_records", fetched_records)
    seen: list[int] = []
    stop = asyncio.Event()

    async def handle(numbers: list[int]) -> None:
        seen.extend(numbers)
        if len(seen) == RECORDS:
            stop.set()

    await consume(kafka, topic, handle, stop, max_records=4)  # of ten in each partition: a poll takes of both
    assert failures
    assert sorted(seen) == list(range(RECORDS))


async def test_a_named_member_comes_back_without_a_rebalance(kafka: KafkaSettings, topic: str) -> None:
    stays, leaves = Member(kafka, topic, "one"), Member(kafka, topic, "two")
    await until(lambda: len(stays.held) == 1 and leaves.held == {0, 1} - stays.held)  # each has one by now
    before, kept = stays.revoked, set(leaves.held)
    await leaves.stop()
    back = Member(kafka, topic, "two")
    await until(lambda: back.held == kept)
    assert stays.revoked == before
    await asyncio.gather(back.stop(), stays.stop())


async def test_without_a_name_each_stop_deals_the_partitions_out_anew(kafka: KafkaSettings, topic: str) -> None:
    stays, leaves = Member(kafka, topic, None), Member(kafka, topic, None)
    await until(lambda: len(stays.held) == 1 and leaves.held == {0, 1} - stays.held)  # each has one by now
    before = stays.revoked
    await leaves.stop()
    await until(lambda: stays.held == {0, 1})
    assert stays.revoked == before + 1
    await stays.stop()


async def test_what_failed_comes_again_and_what_was_done_before_it_does_not(kafka: KafkaSettings, topic: str) -> None:
    done: list[int] = []

    async def fail_on_the_third_batch(numbers: list[int]) -> None:
        if len(done) >= 6:
            raise ValueError("a fault of ours")
        done.extend(numbers)

    with pytest.raises(ValueError, match="a fault of ours"):
        await consume(kafka, topic, fail_on_the_third_batch, asyncio.Event())
    stop = asyncio.Event()

    async def take_the_rest(numbers: list[int]) -> None:
        done.extend(numbers)
        if len(done) >= RECORDS:
            stop.set()

    await consume(kafka, topic, take_the_rest, stop)
    assert sorted(done) == list(range(RECORDS))


async def test_a_dependency_that_is_away_is_waited_for_with_the_same_batch(kafka: KafkaSettings, topic: str) -> None:
    given: list[list[int]] = []
    stop = asyncio.Event()

    async def away_at_first(numbers: list[int]) -> None:
        given.append(numbers)
        if len(given) < 3:
            raise TransientError("away")
        stop.set()

    await consume(kafka, topic, away_at_first, stop)
    assert given[0] == given[1] == given[2]


async def test_who_waits_for_a_dependency_lets_the_group_deal_out_anew(kafka: KafkaSettings, topic: str) -> None:
    """Nor does the member that waits lose its place, or what it waited with."""
    given: list[int] = []
    away, stop = asyncio.Event(), asyncio.Event()
    away.set()

    async def handle(batch: Batch) -> None:
        if away.is_set():
            raise TransientError("away")
        given.extend(numbers_of(batch))

    waits = BatchConsumer(kafka, service=f"test-{topic}", topics=[topic], max_records=3)
    running = asyncio.create_task(waits.run(handle, stop))
    await until(lambda: waits.excused)
    client = waits._consumer
    assert client is not None
    comes = Member(kafka, topic, None)
    await until(lambda: len(comes.held) == 1)  # long before the group would put the other one out
    assert len(client.assignment()) == 1
    away.clear()
    await until(lambda: sorted(given + comes.seen) == list(range(RECORDS)))  # each once
    stop.set()
    await asyncio.gather(running, comes.stop())


async def test_where_a_quiet_partition_stands_is_known_beside_a_busy_one(
    kafka: KafkaSettings, empty_topic: str
) -> None:
    await fill(kafka, empty_topic, [0] * RECORDS)
    consumer = BatchConsumer(kafka, service=f"test-{empty_topic}", topics=[empty_topic], max_records=1)
    stop, known = asyncio.Event(), []

    async def handle(batch: Batch) -> None:
        known.append(consumer.progress()[TopicPartition(empty_topic, 1)])
        if len(known) == RECORDS // 2:  # so far no poll came back empty
            stop.set()

    async with asyncio.timeout(60):
        await consumer.run(handle, stop)
    assert known[-1] == -1


async def test_a_consumer_that_fetches_no_more_is_ended_and_says_where_it_stands(
    kafka: KafkaSettings, topic: str
) -> None:
    stop, handled = asyncio.Event(), asyncio.Event()

    async def note(_: Batch) -> None:
        handled.set()

    consumer = BatchConsumer(kafka, service=f"test-{topic}", topics=[topic])
    running = asyncio.create_task(consumer.run(note, stop))
    await handled.wait()
    client = consumer._consumer
    assert client is not None
    client.pause(*client.assignment())  # as a fetcher does that has died: nothing comes, and nothing is said
    producer = ReliableProducer(kafka)
    await producer.start()
    await producer.send_all([OutgoingRecord(topic, None, b"1", partition=0)])
    await producer.stop()
    hasty = kafka.model_copy(update={"stall_seconds": 1.0})
    with pytest.raises(Stalled, match=r"1 records? waiting, and no progress for 1 s"):
        async with asyncio.timeout(30):
            await watch(consumer, await started(LogEnds(hasty)), f"test-{topic}", hasty.stall_seconds)
    stop.set()
    await running


@pytest.mark.parametrize("aborted", [False, True])
async def test_the_end_of_a_transaction_is_nothing_that_waits(
    kafka: KafkaSettings, empty_topic: str, *, aborted: bool
) -> None:
    """It takes an offset, at the end of the log too, and no consumer is ever given it."""
    stop, handled = asyncio.Event(), asyncio.Event()

    async def note(_: Batch) -> None:
        handled.set()

    consumer = BatchConsumer(kafka, service=f"test-{empty_topic}", topics=[empty_topic])
    running = asyncio.create_task(consumer.run(note, stop))
    async with AIOKafkaProducer(bootstrap_servers=kafka.bootstrap_servers, transactional_id=empty_topic) as producer:
        await producer.begin_transaction()
        await producer.send_and_wait(empty_topic, b"1", partition=0)
        await (producer.abort_transaction() if aborted else producer.commit_transaction())
    place, ends = TopicPartition(empty_topic, 0), await started(LogEnds(kafka))
    await handled.wait()
    assert await ends.nothing_between(place, 0, 2)
    assert not await ends.nothing_between(place, -1, 2)
    watching = asyncio.create_task(watch(consumer, ends, f"test-{empty_topic}", 0.2, 0.05))
    labels = {"service": f"test-{empty_topic}", "topic": empty_topic, "partition": "0"}
    shown: list[float | None] = []

    def lag_was_seen_and_is_gone() -> bool:
        shown.append(REGISTRY.get_sample_value("flit_consumer_lag_records", labels))
        return 1 in shown and shown[-1] == 0

    await until(lambda: watching.done() or lag_was_seen_and_is_gone())
    assert not watching.done()
    watching.cancel()
    stop.set()
    await asyncio.gather(running, ends.stop())


async def started(ends: LogEnds) -> LogEnds:
    await ends.start()
    return ends
