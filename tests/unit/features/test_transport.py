"""What is handed to Faust, and what it is let to believe of offsets. Nothing is connected."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest
from aiokafka import ConsumerRecord
from aiokafka.coordinator.assignors.range import RangePartitionAssignor
from faust.types import TP

from services.features.app import BUFFERED_BATCHES, FeaturesApp, ResumePoint
from services.features.handler import BatchHandler
from services.features.settings import FeaturesSettings
from services.features.transport import BatchConsumer, Fetched, FetchedBatch
from shared.contracts.transactions import Limits
from shared.kafka.refusal_limit import RefusalLimit

ZERO = TP("bnpl-transactions", 0)


def record(offset: int) -> ConsumerRecord[bytes, bytes]:
    return ConsumerRecord("bnpl-transactions", 0, offset, 1_000, 0, b"k", b"v", None, 1, 1, [])


class Fetcher:
    """In place of the thread with the real consumer: hands out what it is given."""

    def __init__(self) -> None:
        self.seeks = 0
        self.ready: list[dict[TP, list[Any]]] = []
        self.sought: list[Mapping[TP, int]] = []
        self.assigned = {ZERO}

    async def getmany(self, active_partitions: Any, timeout: float) -> Fetched:
        return Fetched(self.seeks, self.ready.pop(0))

    async def seek_wait(self, partitions: Mapping[TP, int]) -> None:
        self.seeks += 1
        self.sought.append(dict(partitions))

    def assignment(self) -> set[TP]:
        return self.assigned


@pytest.fixture
async def app() -> FeaturesApp:
    handler = BatchHandler(None, None, partitions=4, limits=Limits(), refusals=RefusalLimit(0.5, 0), now=str)  # type: ignore[arg-type]
    app = FeaturesApp(FeaturesSettings(), handler, None)  # type: ignore[arg-type]
    app.finalize()
    return app


@pytest.fixture
def consumer(app: FeaturesApp) -> BatchConsumer:
    consumer: BatchConsumer = app.consumer
    consumer._thread = Fetcher()
    return consumer


async def fetch(consumer: BatchConsumer, *offsets: int) -> FetchedBatch:
    consumer._thread.ready.append({ZERO: [record(offset) for offset in offsets]})
    (batch,) = (await consumer._getmany({ZERO}, 1.0))[ZERO]
    return batch


async def test_all_fetched_records_of_a_partition_are_one_message_at_the_offset_of_the_last(
    consumer: BatchConsumer,
) -> None:
    batch = await fetch(consumer, 3, 4, 7)
    assert (batch.topic, batch.partition, batch.offset) == ("bnpl-transactions", 0, 7)
    assert [one.offset for one in batch.value.records] == [3, 4, 7]
    message = consumer._to_message(ZERO, batch)
    assert (message.tp, message.offset, message.value) == (ZERO, 7, batch.value)


async def test_a_batch_says_what_was_handed_over_before_it(consumer: BatchConsumer) -> None:
    assert (await fetch(consumer, 3, 4)).value.previous_offset == 2
    assert (await fetch(consumer, 9)).value.previous_offset == 4


async def test_a_partition_without_records_gives_no_message(consumer: BatchConsumer) -> None:
    consumer._thread.ready.append({ZERO: []})
    assert await consumer._getmany({ZERO}, 1.0) == {}


async def resume_at_50(assigned: set[TP]) -> dict[TP, ResumePoint]:
    """Offsets 42 to 49 are gone from the log."""
    return {tp: ResumePoint(offset=50, done=41) for tp in assigned}


async def test_what_was_polled_before_the_latest_seek_is_not_handed_over(
    app: FeaturesApp, consumer: BatchConsumer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(app, "resume_points", resume_at_50)
    polled_before = consumer._thread.seeks
    await consumer.seek_to_committed()
    consumer._thread.seeks = polled_before
    consumer._thread.ready.append({ZERO: [record(90)]})
    assert await consumer._getmany({ZERO}, 1.0) == {}


async def test_what_was_polled_after_a_seek_is_handed_over_before_the_seek_has_returned(
    app: FeaturesApp, consumer: BatchConsumer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A poll that was waiting when the seek came answers first: its records left the buffers, and don't come again."""
    seek_wait, seen = consumer._thread.seek_wait, []

    async def seek_and_poll(partitions: Mapping[TP, int]) -> None:
        await seek_wait(partitions)
        seen.append(await fetch(consumer, 50))

    monkeypatch.setattr(app, "resume_points", resume_at_50)
    monkeypatch.setattr(consumer._thread, "seek_wait", seek_and_poll)
    await consumer.seek_to_committed()
    assert [batch.value.previous_offset for batch in seen] == [41]


async def test_two_seeks_at_once_leave_the_later_one_in_force(
    app: FeaturesApp, consumer: BatchConsumer, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def resume_slowly(assigned: set[TP]) -> dict[TP, ResumePoint]:
        await asyncio.sleep(0)
        return await resume_at_50(assigned)

    monkeypatch.setattr(app, "resume_points", resume_slowly)
    await asyncio.gather(consumer.seek_to_committed(), consumer.seek_to_committed())
    assert (await fetch(consumer, 50)).value.previous_offset == 41


async def test_a_poll_is_stamped_with_the_seeks_before_it(app: FeaturesApp, consumer: BatchConsumer) -> None:
    thread: Any = consumer._new_consumer_thread()

    class Client:
        """Polls as the real client does: what it gives depends on when it is asked."""

        _closed = False
        at = 0

        async def each_by_itself(self, poll: Any, *asked: Any) -> Any:
            return await poll(*asked)

        def seek(self, tp: TP, offset: int) -> None:
            self.at = offset

        async def position(self, tp: TP) -> int:
            return self.at

    await thread._seek_wait(Client(), {ZERO: 5})
    assert thread.seeks == 1
    consumer.flow_active = False
    assert await thread._fetch_records(Client(), {ZERO}) == Fetched(1, {})


async def test_a_batch_fetched_before_the_partitions_were_given_up_bears_an_earlier_generation(
    app: FeaturesApp, consumer: BatchConsumer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(app, "resume_points", resume_at_50)
    await consumer.seek_to_committed()
    batch = await fetch(consumer, 50)
    assert batch.value.generation == app.generation
    await app.stop_taking_in()
    assert batch.value.generation < app.generation
    assert (await fetch(consumer, 51)).value.generation < app.generation


async def test_it_seeks_to_the_positions_in_redis_not_to_the_committed_offsets(
    app: FeaturesApp, consumer: BatchConsumer, monkeypatch: pytest.MonkeyPatch
) -> None:
    await fetch(consumer, 90)
    monkeypatch.setattr(app, "resume_points", resume_at_50)
    await consumer.perform_seek()
    assert consumer._thread.sought == [{ZERO: 50}]
    assert consumer._committed_offset[ZERO] == 50
    # 42 to 49 are gone from the log; that is no hole of ours.
    assert (await fetch(consumer, 50)).value.previous_offset == 41


async def test_the_committed_offset_reaches_the_end_though_most_offsets_were_never_acknowledged(
    consumer: BatchConsumer,
) -> None:
    await consumer._add_gap(ZERO, 0, 499)
    consumer._acked[ZERO] = [499, 999]
    consumer._acked_index[ZERO] = {499, 999}
    assert consumer._new_offset(ZERO) == 1000
    assert consumer._new_offset(ZERO) is None
    consumer._acked[ZERO].append(1000)
    assert consumer._new_offset(ZERO) == 1001


async def test_partition_n_of_both_topics_goes_to_one_process(app: FeaturesApp, consumer: BatchConsumer) -> None:
    thread = consumer._new_consumer_thread()
    real = thread._create_worker_consumer(app.transport)
    assert real._partition_assignment_strategy == (RangePartitionAssignor,)
    assert real._group_id == "flit-features"


async def test_little_is_fetched_ahead(app: FeaturesApp) -> None:
    (agent,) = app.agents.values()
    assert agent.channel.queue.maxsize == BUFFERED_BATCHES


async def test_faust_s_own_producer_never_connects(app: FeaturesApp) -> None:
    await app.producer.on_start()
    assert app.producer._producer is None
    await app.producer.on_stop()


class Brokers:
    """What they answer to a commit, and what they were asked to commit."""

    def __init__(self, app: FeaturesApp, consumer: BatchConsumer, monkeypatch: pytest.MonkeyPatch) -> None:
        self.answer: asyncio.Future[bool] | bool = True
        self.asked: list[dict[TP, int]] = []
        self.was_asked = asyncio.Event()
        consumer._thread.assigned = {ZERO}
        monkeypatch.setattr(consumer, "_commit", self._commit)
        monkeypatch.setattr(app.producer, "flush", _nothing)

    async def _commit(self, offsets: Mapping[TP, int]) -> bool:
        self.asked.append(dict(offsets))
        self.was_asked.set()
        return self.answer if isinstance(self.answer, bool) else await self.answer


async def _nothing() -> None:
    return None


async def test_what_was_taken_in_before_is_committed_anew_and_nothing_of_what_is_being_rebuilt(
    app: FeaturesApp, consumer: BatchConsumer, monkeypatch: pytest.MonkeyPatch
) -> None:
    brokers, other = Brokers(app, consumer, monkeypatch), TP(ZERO.topic, 1)
    consumer._thread.assigned = {ZERO, other}
    monkeypatch.setattr(app, "resume_points", resume_at_50)
    app._progress = {ZERO: 41}
    await consumer.perform_seek()
    assert await consumer.force_commit()
    assert brokers.asked == [{ZERO: 42}]


async def test_a_commit_that_failed_is_made_again_though_nothing_else_comes(
    app: FeaturesApp, consumer: BatchConsumer, monkeypatch: pytest.MonkeyPatch
) -> None:
    brokers = Brokers(app, consumer, monkeypatch)
    consumer._committed_offset[ZERO], app._progress = 10, {ZERO: 19}
    consumer._acked[ZERO].append(19)
    brokers.answer = False
    assert not await consumer.force_commit()
    assert app.progress() == {ZERO: 9}, "what isn't committed is no progress"
    brokers.answer = True
    assert await consumer.force_commit()
    assert brokers.asked == [{ZERO: 20}, {ZERO: 20}]
    assert app.progress() == {ZERO: 19}


async def test_a_commit_that_never_ends_is_a_standstill(
    app: FeaturesApp, consumer: BatchConsumer, monkeypatch: pytest.MonkeyPatch
) -> None:
    brokers = Brokers(app, consumer, monkeypatch)
    brokers.answer = asyncio.get_running_loop().create_future()
    consumer._committed_offset[ZERO], app._progress = 10, {ZERO: 19}
    consumer._acked[ZERO].append(19)
    committing = asyncio.ensure_future(consumer.force_commit())
    await brokers.was_asked.wait()
    app._progress = {ZERO: 500}
    assert app.progress() == {ZERO: 9}
    brokers.answer.set_result(True)
    assert await committing
    assert app.progress() == {ZERO: 500}
