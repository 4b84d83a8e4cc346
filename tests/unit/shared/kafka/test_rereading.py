"""After a poll that failed: what it took is read again, and what somebody has sought meanwhile counts. A batch that
can't be read stops its own partition alone, and only from there on."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.consumer.fetcher import Fetcher, FetchResult, PartitionRecords
from aiokafka.errors import CorruptRecordException
from structlog.testing import capture_logs

from shared.kafka import rereading
from shared.kafka.rereading import RereadingConsumer

ONE, TWO = TopicPartition("t", 1), TopicPartition("t", 2)


def state(position: int) -> SimpleNamespace:
    return SimpleNamespace(position=position, has_valid_position=True)


async def test_only_what_the_poll_itself_has_moved_is_moved_back(monkeypatch: pytest.MonkeyPatch) -> None:
    consumer, states = RereadingConsumer(), {ONE: state(5), TWO: state(5)}

    def seek(_: AIOKafkaConsumer, partition: TopicPartition, offset: int) -> None:
        states[partition].position = offset

    monkeypatch.setattr(AIOKafkaConsumer, "seek", seek)
    monkeypatch.setattr(consumer, "_states", lambda: dict(states))
    reached = consumer.reached()
    states[ONE].position = states[TWO].position = 9  # polled
    consumer.back_to(reached)
    assert (states[ONE].position, states[TWO].position) == (5, 5)

    reached = consumer.reached()
    states[ONE].position = states[TWO].position = 9
    consumer.seek(ONE, 2)  # while the poll was waiting: from 2 on it is to be read again
    consumer.back_to(reached)
    assert (states[ONE].position, states[TWO].position) == (2, 5)

    reached = consumer.reached()
    states[ONE] = state(3)  # taken away, and given anew with what is committed
    del states[TWO]
    consumer.back_to(reached)
    assert states[ONE].position == 3 and TWO not in states
    await consumer.stop()


class Batch:
    """A batch of one record, as the client's own are."""

    producer_id = None
    is_control_batch = False

    def __init__(self, offset: int, *, sound: bool) -> None:
        self.base_offset, self.next_offset, self._sound = offset, offset + 1, sound

    def validate_crc(self) -> bool:
        return self._sound

    def __iter__(self) -> Iterator[Any]:
        yield SimpleNamespace(
            offset=self.base_offset, timestamp=0, timestamp_type=0, key=None, value=b"v", checksum=None, headers=()
        )


class Batches:
    """What one fetch brings of a partition."""

    def __init__(self, batches: list[Batch]) -> None:
        self._batches = batches

    def has_next(self) -> bool:
        return bool(self._batches)

    def next_batch(self) -> Batch:
        return self._batches.pop(0)


class Disk(Fetcher):  # type: ignore[misc]
    """The client's fetcher with its own polls and results; what it fetches lies here."""

    def __init__(self, consumer: RereadingConsumer, offsets: dict[TopicPartition, list[int]]) -> None:
        self.offsets, self.damaged = offsets, set[tuple[TopicPartition, int]]()
        self.fetches = defaultdict[TopicPartition, int](int)
        self._subscriptions = consumer._subscription
        self._records: dict[TopicPartition, Any] = {}
        self._closed = False
        self._wait_consume_future = self._waiter = None

    def fetch(self) -> None:
        """Of every partition of which nothing lies ready, as the client does beside the polls."""
        assignment = self._subscriptions.subscription.assignment
        for at, there in self.offsets.items():
            position = assignment.state_value(at).position
            batches = [Batch(n, sound=(at, n) not in self.damaged) for n in there if n >= position]
            if at not in self._records and batches:
                self.fetches[at] += 1
                records = PartitionRecords(at, Batches(batches), [], position, None, None, True, 0)
                self._records[at] = FetchResult(at, assignment=assignment, partition_records=records, backoff=0)

    def _notify(self, _: Any) -> None: ...

    def _create_fetch_waiter(self) -> asyncio.Future[None]:
        return asyncio.get_running_loop().create_future()

    async def close(self) -> None: ...


class Coordinator:
    def check_errors(self) -> None: ...

    async def close(self) -> None: ...


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    clock = SimpleNamespace(now_s=1_000.0)
    monkeypatch.setattr("shared.kafka.rereading.time.monotonic", lambda: clock.now_s)
    return clock


def reading(offsets: dict[TopicPartition, list[int]]) -> tuple[RereadingConsumer, Disk]:
    consumer: Any = RereadingConsumer()
    consumer.assign(list(offsets))
    for at, there in offsets.items():
        consumer._subscription.subscription.assignment.state_value(at).reset_to(there[0])
    consumer._coordinator = Coordinator()
    consumer._fetcher = disk = Disk(consumer, offsets)
    return consumer, disk


async def polled(consumer: RereadingConsumer, disk: Disk, seen: dict[TopicPartition, list[int]], times: int) -> None:
    for _ in range(times):
        disk.fetch()
        for at, records in (await consumer.getmany(max_records=100)).items():
            seen[at] += [record.offset for record in records]


FOUR = [TopicPartition("t", number) for number in range(4)]
IN_FRONT = 250


@pytest.mark.parametrize("step", [1, 3], ids=["all offsets", "a third of the offsets"])
@pytest.mark.parametrize("culprit", FOUR, ids=lambda at: f"of {at.partition}")
async def test_a_batch_that_can_not_be_read_stops_its_own_partition_alone_and_from_there_on(
    clock: SimpleNamespace, culprit: TopicPartition, step: int
) -> None:
    offsets = {at: [step * number for number in range(500)] for at in FOUR}
    quiet = FOUR[(culprit.partition + 1) % 4]
    offsets[quiet] = [0]
    consumer, disk = reading(offsets)
    disk.damaged.add((culprit, step * IN_FRONT))
    seen = defaultdict[TopicPartition, list[int]](list)
    with capture_logs() as said:
        await polled(consumer, disk, seen, 60)
    assert seen == offsets | {culprit: offsets[culprit][:IN_FRONT]}, "each once, in its order"
    assert [(line["event"], line["partition"], line["offset"]) for line in said] == [
        ("batch_damaged", culprit.partition, step * (IN_FRONT - 1) + 1 if step > 1 else IN_FRONT)
    ]
    fetched = disk.fetches[culprit]
    await polled(consumer, disk, seen, 60)
    assert disk.fetches[culprit] <= fetched + 1, "not again at once"

    disk.offsets[FOUR[(culprit.partition + 2) % 4]] += range(10_000, 10_800)  # the others go on, and don't hold it up
    disk.damaged.clear()
    clock.now_s += rereading.TRIED_AGAIN_S
    await polled(consumer, disk, seen, 20)
    assert seen[culprit] == offsets[culprit]
    await consumer.stop()


async def test_of_two_damaged_partitions_each_is_told(clock: SimpleNamespace) -> None:
    consumer, disk = reading({at: list(range(50)) for at in FOUR})
    disk.damaged |= {(FOUR[0], 0), (FOUR[3], 20)}
    seen = defaultdict[TopicPartition, list[int]](list)
    with capture_logs() as said:
        for _ in range(20):
            await polled(consumer, disk, seen, 5)
            clock.now_s += rereading.TRIED_AGAIN_S
    assert {(line["partition"], line["offset"]) for line in said} == {(0, 0), (3, 20)} and len(said) == 2
    assert [len(seen[at]) for at in FOUR] == [0, 50, 50, 20]
    await consumer.stop()


async def test_a_position_that_is_sought_is_tried_at_once(clock: SimpleNamespace) -> None:
    consumer, disk = reading({ONE: list(range(50)), TWO: [0]})
    disk.damaged.add((ONE, 20))
    seen = defaultdict[TopicPartition, list[int]](list)
    await polled(consumer, disk, seen, 10)
    consumer.seek(ONE, 21)
    await polled(consumer, disk, seen, 2)
    assert seen[ONE] == [*range(20), *range(21, 50)]
    await consumer.stop()


async def test_a_failure_of_nobody_in_particular_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    consumer, disk = reading({ONE: [0], TWO: [0]})
    seen = defaultdict[TopicPartition, list[int]](list)
    with monkeypatch.context() as patched:

        async def fails(*_: Any, **__: Any) -> None:
            raise CorruptRecordException("checksum")

        patched.setattr(disk, "fetched_records", fails)
        with pytest.raises(CorruptRecordException):
            await polled(consumer, disk, seen, 1)
    await polled(consumer, disk, seen, 1)
    assert seen == {ONE: [0], TWO: [0]}
    await consumer.stop()
