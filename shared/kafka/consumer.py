"""The consumer loop of every service that isn't a Faust app."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Collection, Mapping

import structlog
from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, ConsumerRecord, TopicPartition
from aiokafka.errors import KafkaError

from shared.kafka.commits import OffsetCommits
from shared.kafka.connection import consumer_arguments
from shared.kafka.errors import TransientError
from shared.kafka.pacing import PacedConsumer
from shared.settings import KafkaSettings
from shared.telemetry.metrics import BATCH_SECONDS
from shared.telemetry.process import sleep_unless

log = structlog.get_logger()

Batch = Mapping[TopicPartition, list[ConsumerRecord]]
Handle = Callable[[Batch], Awaitable[None]]
PartitionsCallback = Callable[[set[TopicPartition]], Awaitable[None]]
StartOffsets = Callable[[set[TopicPartition]], Awaitable[Mapping[TopicPartition, int]]]

POLL_MS = 250
"""How long one poll waits for records: the time until a stop signal is seen on an idle topic."""

FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.2, 5.0


class BatchConsumer:
    """Gives `handle` every record of `topics` at least once, in partition order.

    `handle` returns only once its effects are durable; only then are the offsets committed, every half a second and
    before partitions are given back. A `TransientError` that it raises is waited out: the same batch is given again.
    Anything else propagates uncommitted: the process exits, and the batch comes again after its restart. `on_assigned`
    and `on_revoked` never run beside `handle`.
    """

    def __init__(
        self,
        settings: KafkaSettings,
        *,
        service: str,
        topics: Collection[str],
        max_records: int = 1000,
        on_assigned: PartitionsCallback | None = None,
        on_revoked: PartitionsCallback | None = None,
        start_offsets: StartOffsets | None = None,
    ) -> None:
        """`start_offsets`: where to begin on the given partitions instead of at the group's committed offsets."""
        self._settings = settings
        self._service = service
        self._topics = tuple(topics)
        self._max_records = max_records
        self._on_assigned = on_assigned
        self._on_revoked = on_revoked
        self._start_offsets = start_offsets
        self._busy = asyncio.Lock()
        self._consumer: AIOKafkaConsumer | None = None
        self._done: dict[TopicPartition, int] = {}
        self._commits: OffsetCommits | None = None
        self.assigned = False
        """Whether the group has given this process its share (which may be empty): the service's readiness."""
        self.excused = False
        """Whether a dependency is away: then standing still is right."""

    async def run(self, handle: Handle, stop: asyncio.Event) -> None:
        """Consume until `stop` is set; then finish the batch in hand, commit, and leave the group."""
        consumer = PacedConsumer(**consumer_arguments(self._settings, self._service))
        self._consumer = consumer
        self._commits = OffsetCommits(consumer)
        consumer.subscribe(list(self._topics), listener=_Listener(self))
        await self._start(consumer, stop)
        if stop.is_set():
            await consumer.stop()
            return
        try:
            while not stop.is_set():
                await self._turn(consumer, self._commits, handle, stop)
        finally:
            self.assigned = False
            await self._commits.flush()
            await consumer.stop()
            self._commits.cancel()
            if self._on_revoked is not None:
                await self._on_revoked(set())

    async def _start(self, consumer: AIOKafkaConsumer, stop: asyncio.Event) -> None:
        pause = FIRST_PAUSE_S
        while not stop.is_set():
            try:
                await consumer.start()
                return
            except (KafkaError, OSError) as error:
                log.warning("brokers_away", error=repr(error))
                await sleep_unless(stop, pause)
                pause = min(pause * 2, LONGEST_PAUSE_S)

    async def _turn(
        self, consumer: AIOKafkaConsumer, commits: OffsetCommits, handle: Handle, stop: asyncio.Event
    ) -> None:
        try:
            batch = await consumer.getmany(timeout_ms=POLL_MS, max_records=self._max_records)
        except KafkaError as error:
            log.warning("poll_failed", error=repr(error))
            await sleep_unless(stop, FIRST_PAUSE_S)
            return
        if not batch:
            commits.begin_if_due()
            await self._note_beginnings(consumer)
            return
        async with self._busy:
            # Partitions may have been taken away between the poll and the lock: their records are not ours any more.
            mine = consumer.assignment()
            batch = {partition: records for partition, records in batch.items() if partition in mine}
            started = time.perf_counter()
            if not batch or not await self._handle(handle, batch, stop):
                return
            BATCH_SECONDS.labels(self._service).observe(time.perf_counter() - started)
            reached = {partition: records[-1].offset + 1 for partition, records in batch.items()}
            self._done.update(reached)
            commits.add(reached)
        commits.begin_if_due()

    async def _handle(self, handle: Handle, batch: Batch, stop: asyncio.Event) -> bool:
        """Whether the batch is done. False: stopped while a dependency was away; its records come again."""
        pause = FIRST_PAUSE_S
        while True:
            try:
                await handle(batch)
                self.excused = False
                return True
            except TransientError as error:
                self.excused = True
                if stop.is_set():
                    return False
                log.warning("waiting_for_dependency", error=str(error))
                await sleep_unless(stop, pause)
                pause = min(pause * 2, LONGEST_PAUSE_S)

    @property
    def positioned(self) -> bool:
        return self.assigned

    @property
    def held_up(self) -> Collection[TopicPartition]:
        return ()

    def progress(self) -> Mapping[TopicPartition, int | None]:
        """Of each assigned partition the offset up to which records are handled; None until something was fetched."""
        assigned = self._consumer.assignment() if self._consumer is not None else ()
        return {tp: self._done[tp] - 1 if tp in self._done else None for tp in assigned}

    async def _note_beginnings(self, consumer: AIOKafkaConsumer) -> None:
        """What lies before the first fetched record was done by others."""
        for partition in consumer.assignment() - self._done.keys():
            if consumer.highwater(partition) is not None:  # fetched from, so the client has a position to tell
                self._done[partition] = await consumer.position(partition)

    async def partitions_assigned(self, partitions: set[TopicPartition]) -> None:
        """Called by the client on a rebalance."""
        async with self._busy:
            if self._start_offsets is not None and partitions and self._consumer is not None:
                for partition, offset in (await self._start_offsets(partitions)).items():
                    self._consumer.seek(partition, offset)
            if self._on_assigned is not None:
                await self._on_assigned(partitions)
            self.assigned = True
            log.info("assigned", partitions=sorted(f"{p.topic}-{p.partition}" for p in partitions))

    async def partitions_revoked(self, partitions: set[TopicPartition]) -> None:
        """Called by the client on a rebalance: waits for the batch in hand."""
        self.assigned = False
        async with self._busy:
            if self._commits is not None:
                await self._commits.flush()
                self._commits.give_back(partitions)
            for partition in partitions:
                self._done.pop(partition, None)
            if self._on_revoked is not None:
                await self._on_revoked(partitions)


class _Listener(ConsumerRebalanceListener):  # type: ignore[misc]
    def __init__(self, owner: BatchConsumer) -> None:
        self._owner = owner

    async def on_partitions_assigned(self, assigned: Collection[TopicPartition]) -> None:
        await self._owner.partitions_assigned(set(assigned))

    async def on_partitions_revoked(self, revoked: Collection[TopicPartition]) -> None:
        await self._owner.partitions_revoked(set(revoked))
