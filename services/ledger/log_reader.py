"""Reads topics from their first record to a fixed end, without being part of any consumer group."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Collection, Mapping
from typing import Any, Self

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient

from shared.kafka.connection import SILENCE_SECONDS
from shared.kafka.errors import TransientError
from shared.kafka.groups import committed

Ends = Mapping[TopicPartition, int]
"""For each partition the offset at which reading stops (exclusive)."""

CATCH_UP_POLL_SECONDS = 0.25
TOPIC_SECONDS = 15
"""For the brokers to say where a topic lies; they may be starting."""
POSITION_SECONDS = 0.5
"""For the client to find a position again that the brokers don't know: the other partitions wait meanwhile."""


class LogReader:
    """A view on the log, one at a time. Use as an async context manager, or `start` and `close` it."""

    def __init__(self, client_arguments: Mapping[str, Any]) -> None:
        self._arguments = dict(client_arguments)
        self._consumer = AIOKafkaConsumer(
            **self._arguments, enable_auto_commit=False, max_partition_fetch_bytes=8_388_608, fetch_max_wait_ms=50
        )
        self._admin = AIOKafkaAdminClient(**self._arguments)

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def start(self) -> None:
        """Raises KafkaError without brokers; nothing is left open then."""
        try:
            await self._consumer.start()
            await self._admin.start()
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        await self._consumer.stop()
        await self._admin.close()

    async def ends(self, topic: str) -> dict[TopicPartition, int]:
        """Where each partition of the topic ends now. Raises TransientError where the topic can't be found."""
        numbers = await self._partitions(topic)
        return dict(await self._consumer.end_offsets([TopicPartition(topic, number) for number in numbers]))

    async def _partitions(self, topic: str) -> set[int]:
        # A client only keeps in mind the topics that it reads now. Nothing found must never pass for nothing there.
        client = self._consumer._client
        deadline = time.monotonic() + TOPIC_SECONDS
        while not (numbers := self._consumer.partitions_for_topic(topic)):
            if time.monotonic() > deadline:
                raise TransientError(f"no topic {topic} after {TOPIC_SECONDS} s")
            await client.add_topic(topic)
            await client.force_metadata_update()
            await asyncio.sleep(CATCH_UP_POLL_SECONDS)
        return set(numbers)

    async def beginnings(self, topic: str) -> dict[TopicPartition, int]:
        """The first offset that each partition still has."""
        partitions = [TopicPartition(topic, number) for number in sorted(await self._partitions(topic))]
        offsets: dict[TopicPartition, int] = await self._consumer.beginning_offsets(partitions)
        return offsets

    async def committed(self, group: str, partitions: Collection[TopicPartition] = ()) -> dict[TopicPartition, int]:
        """As `shared.kafka.groups.committed`."""
        return await committed(self._admin, group, partitions)

    async def caught_up(self, group: str, ends: Ends, deadline: float) -> dict[TopicPartition, int]:
        """Wait until the group has committed up to `ends`; give what it still lacks (nothing: it is there).

        `deadline`: of `time.monotonic`.
        """
        while True:
            committed = await self.committed(group, ends)
            lag = {
                partition: end - committed.get(partition, 0)
                for partition, end in ends.items()
                if committed.get(partition, 0) < end
            }
            if not lag or time.monotonic() > deadline:
                return lag
            await asyncio.sleep(CATCH_UP_POLL_SECONDS)

    def read(self, ends: Ends, since: Mapping[TopicPartition, int] | None = None) -> AsyncIterator[ConsumerRecord]:
        """All records below `ends`, in the order of their offsets within each partition; `since`: of partitions, only
        from these offsets on. Raises TransientError where nothing comes any more, and some should."""
        return records_below(self._consumer, ends, since=since)


async def records_below(
    consumer: AIOKafkaConsumer,
    ends: Ends,
    clock: Callable[[], float] = time.monotonic,
    *,
    since: Mapping[TopicPartition, int] | None = None,
) -> AsyncIterator[ConsumerRecord]:
    """As `LogReader.read`. `clock`: seconds."""
    wanted = {partition: end for partition, end in ends.items() if end > 0}
    if not wanted:
        return
    consumer.assign(list(wanted))
    since = since or {}
    first = await consumer.beginning_offsets(list(wanted))
    beginnings = {partition: max(offset, since.get(partition, 0)) for partition, offset in first.items()}
    wanted = {partition: end for partition, end in wanted.items() if end > beginnings[partition]}
    consumer.assign(list(wanted))
    for partition in wanted:
        consumer.seek(partition, beginnings[partition])
    reached = {partition: beginnings[partition] for partition in wanted}
    open_partitions = set(wanted)
    heard = clock()
    while open_partitions:
        moved = False
        batches = await consumer.getmany(timeout_ms=500, max_records=5000)
        for partition, records in batches.items():
            for record in records:
                if record.offset < wanted[partition]:
                    yield record
        for partition in list(open_partitions):
            position = await _position(consumer, partition)
            # One that went back is that of a log that lost its end, and no step on.
            if position > reached[partition]:
                reached[partition], moved = position, True
            if position >= wanted[partition]:
                open_partitions.discard(partition)
                consumer.pause(partition)
        # After the records were handed over: whoever takes long over them isn't the brokers' silence.
        if moved or batches:
            heard = clock()
        elif clock() - heard > SILENCE_SECONDS:
            silent = sorted(f"{at.topic}-{at.partition} (at {reached[at]} of {wanted[at]})" for at in open_partitions)
            raise TransientError(f"no records of {', '.join(silent)} for {SILENCE_SECONDS:.0f} s")


async def _position(consumer: AIOKafkaConsumer, partition: TopicPartition) -> int:
    """-1: it has none now. The client would wait for one for as long as the brokers are away."""
    try:
        async with asyncio.timeout(POSITION_SECONDS):
            position: int = await consumer.position(partition)
            return position
    except TimeoutError:
        return -1
