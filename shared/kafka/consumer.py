"""The consumer loop of every service that isn't a Faust app."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Collection, Mapping

import structlog
from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, ConsumerRecord, TopicPartition
from aiokafka.errors import CommitFailedError, IllegalStateError, KafkaError

from shared.kafka.connection import consumer_arguments
from shared.kafka.errors import TransientError
from shared.settings import KafkaSettings
from shared.telemetry.metrics import BATCH_SECONDS, CONSUMER_LAG

log = structlog.get_logger()

Batch = Mapping[TopicPartition, list[ConsumerRecord]]
Handle = Callable[[Batch], Awaitable[None]]
PartitionsCallback = Callable[[set[TopicPartition]], Awaitable[None]]
StartOffsets = Callable[[set[TopicPartition]], Awaitable[Mapping[TopicPartition, int]]]

POLL_MS = 250
"""How long one poll waits for records: the time until a stop signal is seen on an idle topic."""

COMMIT_EVERY_S = 0.5
"""What comes again after a crash at most. A commit for each small batch would cost more than the batch."""

COMMIT_TIMEOUT_S = 5.0
"""For the last commit before partitions are given back: the client itself would try for as long as no broker answers,
and hold up the stop of the process."""

COMMIT_STALL_S = 20.0
"""A commit that takes longer, while batches go through all the time, is one that the client has forgotten about."""

FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.2, 5.0


class CommitsStalled(Exception):
    """Batches are handled and their offsets can't be committed. A restart mends what the client can't."""


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
        self._uncommitted: dict[TopicPartition, int] = {}
        self._commit_at_s = 0.0
        self._committing: asyncio.Task[None] | None = None
        self._stalled_since_s: float | None = None
        self._given_back = 0
        """How often partitions were: what could not be committed before is not ours to commit after."""
        self.assigned = False
        """Whether the group has given this process its share (which may be empty): the service's readiness."""

    async def run(self, handle: Handle, stop: asyncio.Event) -> None:
        """Consume until `stop` is set; then finish the batch in hand, commit, and leave the group."""
        consumer = AIOKafkaConsumer(**consumer_arguments(self._settings, self._service))
        self._consumer = consumer
        consumer.subscribe(list(self._topics), listener=_Listener(self))
        await self._start(consumer, stop)
        if stop.is_set():
            await consumer.stop()
            return
        try:
            while not stop.is_set():
                await self._turn(consumer, handle, stop)
        finally:
            self.assigned = False
            await self._flush()
            await consumer.stop()
            if self._committing is not None:
                self._committing.cancel()
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
                await _sleep_unless(stop, pause)
                pause = min(pause * 2, LONGEST_PAUSE_S)

    async def _turn(self, consumer: AIOKafkaConsumer, handle: Handle, stop: asyncio.Event) -> None:
        try:
            batch = await consumer.getmany(timeout_ms=POLL_MS, max_records=self._max_records)
        except KafkaError as error:
            log.warning("poll_failed", error=repr(error))
            await _sleep_unless(stop, FIRST_PAUSE_S)
            return
        if not batch:
            self._stalled_since_s = None  # the brokers may be away as well
            self._commit_if_due()
            self._report_lag(consumer)
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
            self._uncommitted.update(reached)
        self._commit_if_due()
        self._report_lag(consumer)

    async def _handle(self, handle: Handle, batch: Batch, stop: asyncio.Event) -> bool:
        """Whether the batch is done. False: stopped while a dependency was away; its records come again."""
        pause = FIRST_PAUSE_S
        while True:
            try:
                await handle(batch)
                return True
            except TransientError as error:
                if stop.is_set():
                    return False
                log.warning("waiting_for_dependency", error=str(error))
                await _sleep_unless(stop, pause)
                pause = min(pause * 2, LONGEST_PAUSE_S)

    def _commit_if_due(self) -> None:
        """Begin a commit beside the batches. Never one that is cut short: the client doesn't bear that."""
        now = time.monotonic()
        if self._committing is None or self._committing.done():
            self._stalled_since_s = None
            if self._uncommitted and now >= self._commit_at_s:
                self._committing = asyncio.create_task(self._commit(), name="commit")
        elif self._uncommitted:
            self._stalled_since_s = self._stalled_since_s or now
            if now - self._stalled_since_s > COMMIT_STALL_S:
                raise CommitsStalled(f"a commit is not done after {COMMIT_STALL_S:.0f} s of batches")

    async def _flush(self) -> None:
        """Commit what was done, as far as the brokers answer in time."""
        before = self._committing

        async def all_of_it() -> None:
            if before is not None:
                await asyncio.wait({before})
            await self._commit()

        self._committing = asyncio.create_task(all_of_it(), name="last-commit")
        await asyncio.wait({self._committing}, timeout=COMMIT_TIMEOUT_S)

    async def _commit(self) -> None:
        offsets, self._uncommitted = self._uncommitted, {}
        given_back = self._given_back
        self._commit_at_s = time.monotonic() + COMMIT_EVERY_S
        if not offsets or self._consumer is None:
            return
        try:
            await self._consumer.commit(offsets)
        except (CommitFailedError, IllegalStateError) as error:
            # The group moved on without us: whoever has the partitions now does the batch again, which is safe.
            log.warning("commit_refused", error=repr(error))
        except KafkaError as error:
            log.warning("commit_failed", error=repr(error))
            if given_back == self._given_back:
                self._uncommitted = offsets | self._uncommitted

    def _report_lag(self, consumer: AIOKafkaConsumer) -> None:
        for partition in consumer.assignment():
            end = consumer.highwater(partition)
            done = self._done.get(partition)
            if end is not None and done is not None:
                CONSUMER_LAG.labels(self._service, partition.topic, partition.partition).set(max(0, end - done))

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
            await self._flush()
            self._given_back += 1
            self._uncommitted.clear()  # what could not be committed is no longer ours to commit
            if self._on_revoked is not None:
                await self._on_revoked(partitions)


class _Listener(ConsumerRebalanceListener):  # type: ignore[misc]
    def __init__(self, owner: BatchConsumer) -> None:
        self._owner = owner

    async def on_partitions_assigned(self, assigned: Collection[TopicPartition]) -> None:
        await self._owner.partitions_assigned(set(assigned))

    async def on_partitions_revoked(self, revoked: Collection[TopicPartition]) -> None:
        await self._owner.partitions_revoked(set(revoked))


async def _sleep_unless(stop: asyncio.Event, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await stop.wait()
    except TimeoutError:
        pass
