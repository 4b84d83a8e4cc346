"""From Kafka into the lanes, and the offsets of what they have settled back to Kafka."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping

import structlog
from aiokafka import ConsumerRebalanceListener, TopicPartition
from aiokafka.errors import KafkaError

from services.sink.lane import SERVICE, Lane
from services.sink.reading import Reading
from shared.contracts import topics
from shared.kafka.commits import OffsetCommits
from shared.kafka.connection import consumer_arguments
from shared.kafka.errors import TransientError
from shared.kafka.rereading import RereadingConsumer
from shared.settings import KafkaSettings
from shared.telemetry.process import patiently

log = structlog.get_logger()

FAILED_PAUSE_S = 0.1
CLOSE_GRACE_S = 5.0
"""For the batch in hand when a partition is given away: longer than an append takes, shorter than the group waits.
What it doesn't finish, the next owner does."""

_FETCHING = {"fetch_min_bytes": 524_288, "fetch_max_wait_ms": 100, "max_partition_fetch_bytes": 1_048_576}
"""Rows are gathered for a second in any case: let the broker gather them too, instead of asking for each of them. Not
for long: while it does, partitions that have been read meanwhile wait for their turn."""

MakeLane = Callable[["SinkLoop", TopicPartition], Lane]


class SinkLoop:
    """Gives each assigned partition a lane, fills it, and commits behind it.

    Not the shared consumer loop: that one hands out a batch over all partitions and takes the next when all of it is
    done, so a table that is slow, or transactions that wait for the features service, would hold up every other.
    """

    def __init__(self, settings: KafkaSettings, make_lane: MakeLane) -> None:
        self._settings = settings
        self._make_lane = make_lane
        self._lanes: dict[TopicPartition, Lane] = {}
        self._handed_in: dict[TopicPartition, int] = {}
        self._reading = Reading()
        self._giving_away = asyncio.Lock()
        """Held by a rebalance, or by the end of the process: each may come while the other closes lanes."""
        self._commits: OffsetCommits | None = None
        self._assigned = False
        self._consumer: RereadingConsumer | None = None

    def ready(self) -> str | None:
        """None, or why not."""
        if not self._assigned:
            return "no partitions assigned yet"
        waiting = sum(not lane.opened for lane in list(self._lanes.values()))
        return f"{waiting} of {len(self._lanes)} partitions wait for the warehouse" if waiting else None

    async def run(self, stop: asyncio.Event) -> None:
        """Consume until `stop` is set; then finish the batches in hand, commit, and leave the group.

        Raises what a lane raised: FencedOff, LogMismatch, or an error of ours.
        """
        consumer = await patiently(self._connect, stop)
        if consumer is None or self._commits is None:
            return
        try:
            while not stop.is_set():
                try:
                    batch = await self._reading.poll(consumer, self._lanes)
                except KafkaError as error:
                    log.warning("poll_failed", error=repr(error))
                    await asyncio.sleep(FAILED_PAUSE_S)
                    continue
                for partition, records in batch.items():
                    lane = self._lanes.get(partition)
                    if lane is not None:
                        lane.offer(records)
                self._hand_in(self._commits, self._lanes)
                self._commits.begin_if_due()
        finally:
            try:
                await self.revoked(set(self._lanes))
            finally:
                await consumer.stop()  # also where the group takes the partitions at this very moment
                self._commits.cancel()

    async def end_of_log(self, partition: TopicPartition) -> int:
        """The offset that the partition's next record will get. Raises TransientError."""
        if self._consumer is None:
            raise TransientError("not connected yet")
        try:
            return int((await self._consumer.end_offsets([partition]))[partition])
        except (KafkaError, OSError) as error:
            raise TransientError(f"end of {partition.topic}-{partition.partition}: {error!r}") from error

    async def _connect(self) -> RereadingConsumer:
        consumer = RereadingConsumer(**consumer_arguments(self._settings, SERVICE) | _FETCHING)
        self._consumer, self._commits = consumer, OffsetCommits(consumer)
        consumer.subscribe([topic.name for topic in topics.ALL], listener=_Listener(self))
        try:
            await consumer.start()
        except (KafkaError, OSError) as error:
            await consumer.stop()
            raise TransientError(f"brokers at {self._settings.bootstrap_servers}: {error!r}") from error
        return consumer

    def _hand_in(self, commits: OffsetCommits, partitions: Collection[TopicPartition]) -> None:
        """What the lanes have settled since the last time."""
        offsets = {
            partition: done
            for partition in partitions
            if (done := self._lanes[partition].committable) is not None and done != self._handed_in.get(partition)
        }
        self._handed_in.update(offsets)
        commits.add(offsets)

    @property
    def positioned(self) -> bool:
        return self._assigned

    @property
    def excused(self) -> bool:
        return False

    @property
    def held_up(self) -> Collection[TopicPartition]:
        return [partition for partition, lane in self._lanes.items() if lane.held_up]

    def progress(self) -> Mapping[TopicPartition, int | None]:
        """Of each assigned partition the offset up to which rows are in the warehouse; None until that was asked."""
        return {tp: None if lane.done is None else lane.done - 1 for tp, lane in self._lanes.items()}

    async def assigned(self, partitions: set[TopicPartition]) -> None:
        """Called by the client on a rebalance."""
        if self._consumer is not None and partitions:
            self._consumer.pause(*partitions)  # until their lanes know where to begin
        for partition in partitions:
            self._lanes[partition] = self._make_lane(self, partition)
        self._assigned = True
        log.info("assigned", partitions=sorted(f"{p.topic}-{p.partition}" for p in partitions))

    async def revoked(self, partitions: set[TopicPartition]) -> None:
        """Called by the client on a rebalance: gives the lanes a moment to finish, commits, and drops them."""
        self._assigned = False
        async with self._giving_away:
            mine = partitions & self._lanes.keys()
            await asyncio.gather(*(self._lanes[partition].close(CLOSE_GRACE_S) for partition in mine))
            if self._commits is not None and mine:
                self._hand_in(self._commits, mine)
                await self._commits.flush()
                self._commits.give_back(mine)
            for partition in mine:
                del self._lanes[partition]
                self._handed_in.pop(partition, None)
            self._reading.forget(mine)


class _Listener(ConsumerRebalanceListener):  # type: ignore[misc]
    def __init__(self, owner: SinkLoop) -> None:
        self._owner = owner

    async def on_partitions_assigned(self, assigned: Collection[TopicPartition]) -> None:
        await self._owner.assigned(set(assigned))

    async def on_partitions_revoked(self, revoked: Collection[TopicPartition]) -> None:
        await self._owner.revoked(set(revoked))
