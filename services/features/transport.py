"""Faust's Kafka transport, handing over whole fetched batches, and resuming where Redis says.

Faust gives each record its own turn of the event loop. Here a batch of records of one partition goes through as a
single message whose value is the list of them, and whose offset is that of the last: a tenth of the cost, and just the
unit that the state write wants. Its bookkeeping of offsets assumes one message for each offset, so two methods of it
are replaced.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from aiokafka import AIOKafkaConsumer
from aiokafka.coordinator.assignors.range import RangePartitionAssignor
from faust.transport.drivers.aiokafka import AIOKafkaConsumerThread, Consumer, Transport
from faust.types import TP

from shared.kafka.connection import consumer_arguments


@dataclass(slots=True)
class FetchedRecords:
    """Records of one partition, and the offset of the record that was fetched before the first of them."""

    records: list[Any]
    previous_offset: int


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


class ConsumerThread(AIOKafkaConsumerThread):  # type: ignore[misc]
    """Faust's thread, with the consumer that all services have.

    Its own asks the broker to wait 1.5 seconds, which a quiet topic would feel, and deals partitions of several topics
    out one by one, so that partition N of transactions and of outcomes could go to different processes.
    """

    def _create_worker_consumer(self, transport: Any) -> AIOKafkaConsumer:
        self._assignor = RangePartitionAssignor
        arguments = consumer_arguments(self.app.kafka_settings, self.app.service)
        return AIOKafkaConsumer(**arguments, max_poll_records=self.app.conf.broker_max_poll_records)


class BatchConsumer(Consumer):  # type: ignore[misc]
    """One message for each fetched batch of a partition."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._fetched_until: dict[TP, int] = {}

    def _new_consumer_thread(self) -> ConsumerThread:
        return ConsumerThread(self, loop=self.loop, beacon=self.beacon)

    async def _getmany(self, active_partitions: Any, timeout: float) -> dict[TP, list[FetchedBatch]]:
        fetched = await super()._getmany(active_partitions, timeout)
        return {partition: [self._batch(partition, records)] for partition, records in fetched.items() if records}

    def _batch(self, partition: TP, records: list[Any]) -> FetchedBatch:
        last = records[-1]
        previous = self._fetched_until.get(partition, records[0].offset - 1)
        self._fetched_until[partition] = last.offset
        value = FetchedRecords(records, previous)
        return FetchedBatch(
            partition.topic, partition.partition, last.offset, last.timestamp, last.timestamp_type, value
        )

    async def seek_to_committed(self) -> Mapping[TP, int]:
        """Seek to the positions in Redis: they moved together with the states, the committed offsets did not."""
        offsets = await self.app.resume_offsets(set(self.assignment()))
        for partition, offset in offsets.items():
            await self._seek(partition, offset)
            self._fetched_until[partition] = offset - 1
        return dict(offsets)

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


class BatchTransport(Transport):  # type: ignore[misc]
    Consumer = BatchConsumer
