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
    Where the group deals partitions out anew meanwhile, the batch is given up: its records come again, here or to
    another member. Anything else propagates uncommitted: the process exits, and the batch comes again after its
    restart. `on_assigned` and `on_revoked` never run beside `handle`.
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
        self._given_back = 0
        """How often partitions were: what was polled before is not ours any more, or is polled again."""
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
        if not batch or await self._handle(handle, batch, commits, stop):
            commits.begin_if_due()
            await self._note_beginnings(consumer)

    async def _handle(self, handle: Handle, batch: Batch, commits: OffsetCommits, stop: asyncio.Event) -> bool:
        """Whether the batch is done. False: stopped while a dependency was away, or given up; it comes again."""
        polled, pause, started = self._given_back, FIRST_PAUSE_S, time.perf_counter()
        while True:
            # Held for one try only: who waits for a dependency must not keep the group waiting, it would put him out.
            async with self._busy:
                if self._given_back != polled:
                    self.excused = False
                    return False
                try:
                    await handle(batch)
                except TransientError as error:
                    self.excused = True
                    log.warning("waiting_for_dependency", error=str(error))
                else:
                    self.excused = False
                    BATCH_SECONDS.labels(self._service).observe(time.perf_counter() - started)
                    reached = {partition: records[-1].offset + 1 for partition, records in batch.items()}
                    self._done.update(reached)
                    commits.add(reached)
                    return True
            if stop.is_set():
                return False
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
        """Called by the client on a rebalance: waits for what is being handled."""
        self.assigned = False
        self._given_back += 1
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
