"""Faust's Kafka transport, handing over whole fetched batches, and resuming where Redis says.

Faust gives each record its own turn of the event loop. Here a batch of records of one partition goes through as a
single message whose value is the list of them, and whose offset is that of the last: a tenth of the cost, and just the
unit that the state write wants. Its bookkeeping of offsets assumes one message for each offset, so two methods of it
are replaced.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection, Mapping, Set
from dataclasses import dataclass
from typing import Any

from aiokafka import AIOKafkaConsumer
from faust.transport.drivers.aiokafka import AIOKafkaConsumerThread, Consumer, Producer, Transport
from faust.types import TP

from shared.kafka.connection import consumer_arguments
from shared.kafka.pacing import PacedConsumer

FAUST_LOG = logging.getLogger("faust.features")
"""Faust names its lines after the subclass's module; here, to quieten them together with the rest of Faust."""


@dataclass(slots=True)
class FetchedRecords:
    """Records of one partition, in order of their offsets."""

    records: list[Any]
    previous_offset: int
    """Of the record that was handed over before the first of them."""
    generation: int
    """Of the assignment that they were fetched under (BatchHandler.generation)."""


@dataclass(slots=True)
class FetchedBatch:
    """Looks like a record to Faust; its value is the list of the real ones."""

    topic: str
    partition: int
    offset: int
    timestamp: int
    timestamp_type: int
    value: FetchedRecords
    key: None = None
    headers: tuple[()] = ()
    checksum: None = None
    serialized_key_size: int = 0
    serialized_value_size: int = 0


@dataclass(slots=True)
class Fetched:
    """What one poll gave, and after how many seeks."""

    seeks: int
    records: Mapping[TP, list[Any]]


class ConsumerThread(AIOKafkaConsumerThread):  # type: ignore[misc]
    """Faust's thread, with the consumer that all services have.

    Its own asks the broker to wait 1.5 seconds, which a quiet topic would feel, and deals partitions of several topics
    out one by one, so that partition N of transactions and of outcomes could go to different processes.

    Seeks are counted, and each poll says how many came before it. Both happen in this thread's loop, and the stamp is
    put on in the same turn in which the records leave the client's buffers, so that the order is certain: what bears
    the latest count follows the latest seek without a gap, and what bears an earlier one comes again after it.
    """

    logger = FAUST_LOG
    seeks = 0

    def _create_worker_consumer(self, transport: Any) -> PacedConsumer:
        arguments = consumer_arguments(self.app.kafka_settings, self.app.service)
        (self._assignor,) = arguments["partition_assignment_strategy"]
        return PacedConsumer(**arguments, max_poll_records=self.app.conf.broker_max_poll_records)

    async def _fetch_records(
        self,
        consumer: PacedConsumer,
        active_partitions: Set[TP],
        timeout: float | None = None,
        max_records: int | None = None,
    ) -> Fetched:
        """One poll for each answer, so that its stamp is of that moment."""
        fetch = super()._fetch_records

        async def poll(partitions: Collection[TP], timeout_s: float, most: int | None) -> Mapping[TP, list[Any]]:
            return await fetch(consumer, set(partitions), timeout=timeout_s, max_records=most)  # type: ignore[no-any-return]

        records = await consumer.each_by_itself(poll, active_partitions, timeout or 0.0, max_records)
        return Fetched(self.seeks, records)

    async def _seek_wait(self, consumer: AIOKafkaConsumer, partitions: Mapping[TP, int]) -> None:
        self.seeks += 1
        await super()._seek_wait(consumer, partitions)


class _Forgetful(dict[TP, int | None]):
    """What Faust remembers to have read, to pass over what comes again. After a seek backwards a message still on its
    way would move it forward, and what follows would be passed over; what comes again, the handler knows by itself."""

    def __getitem__(self, tp: TP) -> None:
        return None


class BatchConsumer(Consumer):  # type: ignore[misc]
    """One message for each fetched batch of a partition."""

    logger = FAUST_LOG

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._handed_over: dict[TP, int] = {}
        self._seeks = 0
        self._generation = 0
        self._seeking = asyncio.Lock()
        self._read_offset = _Forgetful()
        self._behind: dict[TP, int] = {}
        """Partitions whose commit is under way or failed → what is committed of them."""

    def _new_consumer_thread(self) -> ConsumerThread:
        return ConsumerThread(self, loop=self.loop, beacon=self.beacon)

    async def _getmany(self, active_partitions: Any, timeout: float) -> dict[TP, list[FetchedBatch]]:
        fetched: Fetched = await super()._getmany(active_partitions, timeout)
        if fetched.seeks != self._seeks:
            return {}  # polled before the latest seek: comes again
        return {tp: [self._batch(tp, records)] for tp, records in fetched.records.items() if records}

    def _batch(self, partition: TP, records: list[Any]) -> FetchedBatch:
        last = records[-1]
        previous = self._handed_over.get(partition, records[0].offset - 1)
        self._handed_over[partition] = last.offset
        value = FetchedRecords(records, previous, self._generation)
        return FetchedBatch(
            partition.topic, partition.partition, last.offset, last.timestamp, last.timestamp_type, value
        )

    async def seek_to_committed(self) -> Mapping[TP, int]:
        """Seek to the positions in Redis: they moved together with the states, the committed offsets did not.

        Called by Faust after each assignment, before it lets batches through; sometimes twice at once. A batch of
        before that is on its way bears an earlier generation, by which the handler knows it.
        """
        async with self._seeking:
            points = await self.app.resume_points(set(self.assignment()))
            offsets = {tp: point.offset for tp, point in points.items()}
            self._handed_over = {tp: point.done for tp, point in points.items()}
            self._generation = self.app.generation
            if offsets:
                self._seeks = self._thread.seeks + 1
                await self.seek_wait(offsets)
            return offsets

    async def perform_seek(self) -> None:
        """Also commit anew what was taken in before: the commit of that may have been lost with the process, or with
        the brokers, and where nothing comes any more nobody else would."""
        await super().perform_seek()
        self._behind = {}
        for tp, done in self.app.taken_in().items():
            if done >= 0:
                self._to_commit(tp, done + 1)

    async def _commit_offsets(self, offsets: Mapping[TP, int], start_new_transaction: bool = True) -> bool:
        """Faust takes what it couldn't commit for committed, and an unending commit for none. Here both are behind."""
        for tp in offsets:
            self._behind.setdefault(tp, self._committed_offset[tp] or offsets[tp])
        committed: bool = await super()._commit_offsets(offsets, start_new_transaction=start_new_transaction)
        for tp, offset in offsets.items():
            if committed:
                self._behind.pop(tp, None)
            elif tp in self.assignment():
                self._to_commit(tp, offset)
        return committed

    def _to_commit(self, tp: TP, offset: int) -> None:
        """With the next commit."""
        self._committed_offset[tp] = None
        self._acked[tp].append(offset - 1)
        self._acked_index[tp].add(offset - 1)

    def committed_at_least(self, tp: TP, done: int) -> int:
        """`done`, or the last offset that is committed where a commit of that partition is behind."""
        return min(done, self._behind[tp] - 1) if tp in self._behind else done

    async def _add_gap(self, tp: TP, offset_from: int, offset_to: int) -> None:
        """The offsets inside a batch are no gaps: nothing to keep track of."""

    def _new_offset(self, tp: TP) -> int | None:
        """What to commit: one past the last batch acknowledged. Right, since one agent acknowledges in order."""
        acknowledged = self._acked[tp]
        if not acknowledged:
            return None
        last = max(acknowledged)
        acknowledged.clear()
        self._acked_index[tp].clear()
        return int(last) + 1


class NoProducer(Producer):  # type: ignore[misc]
    """Faust's own producer, which isn't idempotent and isn't used: it never connects."""

    logger = FAUST_LOG

    async def on_start(self) -> None:
        """Nothing to start."""

    async def on_stop(self) -> None:
        """Nothing was started."""


class BatchTransport(Transport):  # type: ignore[misc]
    Consumer = BatchConsumer
    Producer = NoProducer
