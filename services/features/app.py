"""The Faust app: who owns which partition, and batches to the handler."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import faust
import structlog
from aiokafka.errors import IllegalStateError
from faust.types import TP

from services.features.handler import Batch, BatchHandler, Superseded, position_of
from services.features.metrics import HALTED
from services.features.pipeline import SERVICE, LogRecord
from services.features.prehistory import RecordsMissing
from services.features.rebuild import Rebuilder
from services.features.settings import FeaturesSettings
from services.features.transport import FAUST_LOG, BatchTransport
from shared.contracts.topics import OUTCOMES, TRANSACTIONS
from shared.feature_state import StatesLost
from shared.kafka.refusal_limit import TooManyRefused

log = structlog.get_logger()

COMMIT_INTERVAL_SECONDS = 0.5
"""Committed offsets only tell others how far we are; where to resume stands in Redis."""

BUFFERED_BATCHES = 16
"""Fetched ahead of the one in hand, over all partitions. Faust's default of 4,096 was meant for single records: of
batches it would hold gigabytes on a backlog."""

ROUND_BATCHES = 8
"""In one round at most: with full batches, what the next one would otherwise wait for too long."""

RESUME_DEADLINE_SECONDS = 60.0
"""For reading the positions after an assignment. Faust goes on without a seek after 90, its request timeout."""

GIVE_UP_SECONDS = 8.0
"""What a batch in hand may take when partitions are taken away: less than the session timeout (10 s), after which the
group goes on without us anyway. The fence covers a batch that took longer."""


LOOK_FOR_LOSS_SECONDS = 1.0
"""Between two looks whether Redis still has our positions. Each round notices too; this is for quiet partitions."""


FIRST_GAP_PAUSE_SECONDS, LONGEST_GAP_PAUSE_SECONDS = 5.0, 600.0
"""Between two looks whether the warehouse has what a rebuild lacks. Each look is a query that BigQuery charges for, and
what it waits for is a person, or a sink that was just about to write."""


class PositionBeyondLog(Exception):
    """The states hold records that the log doesn't: it is another log, or it lost its end. No way on from there."""


@dataclass(frozen=True, slots=True)
class ResumePoint:
    offset: int
    """Of the first record to read."""
    done: int
    """Of the last record that is in the states."""


class FeaturesApp(faust.App):  # type: ignore[misc]
    """One agent for both topics: with equal partition counts it owns partition N of both, or of none."""

    logger = FAUST_LOG

    def __init__(self, settings: FeaturesSettings, handler: BatchHandler, rebuilder: Rebuilder) -> None:
        super().__init__(
            f"flit-{SERVICE}",
            broker=f"kafka://{settings.kafka.bootstrap_servers.replace(',', ';kafka://')}",
            store="memory://",
            topic_partitions=settings.kafka.partitions,
            topic_disable_leader=True,
            topic_allow_declare=False,
            web_enabled=False,
            consumer_auto_offset_reset="earliest",
            broker_max_poll_records=settings.features.max_batch,
            broker_commit_interval=COMMIT_INTERVAL_SECONDS,
            stream_wait_empty=False,
            stream_buffer_maxsize=BUFFERED_BATCHES,
        )
        self.kafka_settings = settings.kafka
        self.service = SERVICE
        self._handler = handler
        self._rebuilder = rebuilder
        self._rebuilding: asyncio.Task[None] | None = None
        self._rebuilt: asyncio.Task[None] | None = None
        """Whose last step is under way; the event loop itself would forget it."""
        self.failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """Gets the error that no retry can mend: the process has to end then."""
        self.positioned = False
        """Whether positions were read for the present assignment: the service's readiness."""
        self._progress: dict[TP, int] = {}
        self._halt_seconds = settings.features.halt_seconds
        self._halted: dict[str, asyncio.TimerHandle] = {}
        """Topics that aren't read for a while, since too much of them would be refused."""
        self._going_on: set[asyncio.Task[None]] = set()
        self._waiting: asyncio.Queue[Any] = asyncio.Queue(ROUND_BATCHES)
        self._workers: list[asyncio.Task[None]] = []
        topics = self.topic(
            TRANSACTIONS.name, OUTCOMES.name, key_serializer="raw", value_serializer="raw", allow_empty=True
        )
        self.agent(topics, name="take-in", concurrency=1)(self._take_in)

    @property
    def generation(self) -> int:
        return self._handler.generation

    @property
    def excused(self) -> bool:
        """Whether standing still is right: a dependency is away. Partitions that are being rebuilt are no part of
        `progress`; the others go on meanwhile."""
        return self._handler.waiting

    @property
    def held_up(self) -> Collection[TP]:
        """Those of the topics that are left alone for a while."""
        return [tp for tp in self._progress if tp.topic in self._halted]

    @property
    def rebuilding(self) -> bool:
        """Whether some of our partitions are being rebuilt; they wait meanwhile."""
        return self._rebuilding is not None

    def progress(self) -> dict[TP, int]:
        """Of each assigned partition the offset up to which records are in the states, and are committed where a commit
        is under way: one that never ends is a standstill too."""
        return {tp: self.consumer.committed_at_least(tp, done) for tp, done in self._progress.items()}

    def taken_in(self) -> dict[TP, int]:
        """Of each assigned partition the offset up to which records are in the states, committed or not."""
        return dict(self._progress)

    async def resume_points(self, assigned: set[TP]) -> Mapping[TP, ResumePoint]:
        """Where to go on; what has no states is rebuilt beside. Raises PositionBeyondLog, and TimeoutError where Redis
        stays away."""
        self.positioned = False
        await self._stop_rebuilding()
        generation = self._handler.generation
        try:
            at_least = await self._rebuilder.taken_in({tp.partition for tp in assigned})
            if self._handler.generation != generation:
                return {}  # partitions were dealt out anew meanwhile
            positions = await self._handler.resume({tp.partition for tp in assigned}, RESUME_DEADLINE_SECONDS, at_least)
            generation = self._handler.generation
            first = await self.consumer.earliest_offsets(*assigned) if assigned else {}
            end = await self.consumer.highwaters(*assigned) if assigned else {}
        except Superseded:
            return {}
        if self._handler.generation != generation:  # likewise: brokers that are away are asked for long
            return {}
        points: dict[TP, ResumePoint] = {}
        lost = {tp.partition for tp in assigned if tp.partition not in positions}
        self._rebuilder.show_only(lost, {tp.partition for tp in assigned})
        for tp in sorted(assigned):
            if tp.partition in lost:
                # Whatever is fetched of it now is passed over; it comes again when the states are there.
                points[tp] = ResumePoint(end[tp], end[tp] - 1)
                continue
            done = position_of(positions[tp.partition], tp.topic)
            if done >= end[tp]:
                raise PositionBeyondLog(f"{tp.topic}-{tp.partition}: states hold {done}, the log ends before {end[tp]}")
            if done + 1 < first[tp]:
                log.error("records_expired_unread", topic=tp.topic, partition=tp.partition, after=done, first=first[tp])
            points[tp] = ResumePoint(max(done + 1, first[tp]), done)
        self._progress = {tp: point.offset - 1 for tp, point in points.items() if tp.partition not in lost}
        self.positioned = True
        if lost:
            self._rebuilding = asyncio.create_task(self._rebuild(sorted(lost)), name="rebuild")
        log.info("assigned", offsets={f"{tp.topic}-{tp.partition}": point.offset for tp, point in points.items()})
        return points

    async def _rebuild(self, lost: Sequence[int]) -> None:
        """Until some of them are whole. Those that wait for records don't hold the others up."""
        pause = FIRST_GAP_PAUSE_SECONDS
        try:
            while not any([await self._rebuilt_now(partition) for partition in lost]):
                await asyncio.sleep(pause)
                pause = min(2 * pause, LONGEST_GAP_PAUSE_SECONDS)
        except Exception as error:  # noqa: BLE001 - handed to the process's edge, which ends it
            self._fail(error)
            return
        self._rebuilding, self._rebuilt = None, self._rebuilding
        await self._begin_anew()

    async def _rebuilt_now(self, partition: int) -> bool:
        try:
            await self._rebuilder.rebuild(partition)
        except RecordsMissing as missing:
            log.error("rebuild_waits", error=str(missing))
            return False
        return True

    async def _stop_rebuilding(self) -> None:
        task, self._rebuilding = self._rebuilding, None
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def _begin_anew(self) -> None:
        """Read the positions of what is assigned to us again, and go on from there, as after an assignment."""
        try:
            await self.consumer.perform_seek()
        except IllegalStateError:
            log.warning("assignment_moved")  # what is assigned now asks for its positions by itself
        except Exception as error:  # noqa: BLE001 - handed to the process's edge, which ends it
            self._fail(error)

    async def stop_taking_in(self) -> None:
        """Finish the batch in hand; take no other until the next assignment."""
        self.positioned = False
        await self._stop_rebuilding()
        try:
            async with asyncio.timeout(GIVE_UP_SECONDS):
                await self._handler.release()
        except TimeoutError:
            log.warning("batch_abandoned", seconds=GIVE_UP_SECONDS)

    async def leave(self) -> None:
        """Commit offsets and leave the group. Harmless where nothing was started."""
        if self.started:
            # The first may find the periodic one under way, and then does nothing but wait for it.
            if not await self.consumer.commit():
                await self.consumer.commit()
            await self.stop()
        for timer in self._halted.values():
            timer.cancel()
        for worker in self._workers:
            worker.cancel()
        await asyncio.gather(*self._workers, return_exceptions=True)
        if not self.failed.cancel():
            with contextlib.suppress(asyncio.CancelledError):
                self.failed.exception()  # seen: whoever cares has awaited it

    async def _on_partitions_revoked(self, revoked: set[TP]) -> None:
        """The batch in hand is finished before the group learns that we let go: else the next owner is fenced off."""
        await self.stop_taking_in()
        await super()._on_partitions_revoked(revoked)

    async def _on_partitions_assigned(self, assigned: set[TP], generation_id: int = 0) -> None:
        await super()._on_partitions_assigned(assigned, generation_id)
        if not assigned:
            # Faust seeks, and so asks where to go on, only where there is something. One more process than there are
            # partitions waits for its turn, and is in order.
            await self._stop_rebuilding()
            self._progress = {}
            self._rebuilder.show_only(set(), set())
            self.positioned = True
            log.info("assigned", offsets={})

    async def crash(self, reason: BaseException) -> None:
        """Faust calls this for what it can't mend, and would stay up, doing nothing."""
        self._fail(reason)
        await super().crash(reason)

    def _crash(self, reason: BaseException) -> None:
        self._fail(reason)
        super()._crash(reason)

    def _fail(self, error: BaseException) -> None:
        """Also called from the consumer's thread."""
        self.failed.get_loop().call_soon_threadsafe(self._set_failed, error)

    def _set_failed(self, error: BaseException) -> None:
        if not self.failed.done():
            self.failed.set_exception(error)

    def _new_transport(self) -> Any:
        return BatchTransport(self.conf.broker_consumer, self, loop=self.loop)

    def _create_directories(self) -> None:
        """None: nothing is stored on this machine."""

    async def _take_in(self, stream: Any) -> None:
        if not self._workers:
            self._workers = [
                asyncio.create_task(self._work(), name="rounds"),
                asyncio.create_task(self._look_for_loss(), name="look-for-loss"),
            ]
        async for event in stream.noack().events():
            await self._waiting.put(event)

    async def _work(self) -> None:
        """Rounds, one after the other, each with all that came in during the one before it."""
        while True:
            events = [await self._waiting.get()]
            while not self._waiting.empty():
                events.append(self._waiting.get_nowait())
            try:
                await self._round(events)
            except StatesLost as loss:
                log.error("states_lost", error=str(loss))
                await self._begin_anew()
            except TooManyRefused as many:
                await self._halt(many)
            except Exception as error:  # noqa: BLE001 - handed to the process's edge, which ends it
                self._fail(error)
                return

    async def _halt(self, many: TooManyRefused) -> None:
        """Leave the topic alone for a while; what was fetched beside it comes again."""
        log.error(
            "topic_halted", topic=many.topic, refused=many.refused, records=many.records, seconds=self._halt_seconds,
            detail="FEATURES__REFUSALS_PER_MINUTE=0 would take it in",
        )  # fmt: skip
        HALTED.labels(many.topic).set(1)
        self._halted[many.topic] = self.loop.call_later(self._halt_seconds, self._go_on, many.topic)
        self.consumer.pause_partitions({tp for tp in self.consumer.assignment() if tp.topic == many.topic})
        await self._begin_anew()

    def _go_on(self, topic: str) -> None:
        """Try the topic again: by now its producer may be in order, or its records past the bad stretch."""
        log.info("topic_tried_again", topic=topic)
        task = asyncio.ensure_future(self._try_again(topic))
        self._going_on.add(task)
        task.add_done_callback(self._going_on.discard)

    async def _try_again(self, topic: str) -> None:
        # First, nothing that was fetched so far is taken any more: after a rebalance meanwhile some of the topic may
        # have been passed over, and what follows that would show a hole.
        await self._handler.release()
        del self._halted[topic]
        HALTED.labels(topic).set(0)
        self.consumer.resume_partitions({tp for tp in self.consumer.assignment() if tp.topic == topic})
        await self._begin_anew()

    async def _look_for_loss(self) -> None:
        while True:
            await asyncio.sleep(LOOK_FOR_LOSS_SECONDS)
            try:
                if self.positioned and await self._handler.has_lost_states():
                    log.error("states_lost", error="positions are gone")
                    await self._begin_anew()
            except Exception as error:  # noqa: BLE001 - a watch that ends without a word would be none
                self._fail(error)
                return

    async def _round(self, events: Sequence[Any]) -> None:
        events = [event for event in events if event.message.topic not in self._halted]
        fetched = [event.message.value for event in events]
        batches = [
            Batch([_log_record(record) for record in each.records], each.previous_offset, each.generation)
            for each in fetched
        ]
        for event, taken in zip(events, await self._handler.handle(batches), strict=True):
            if not taken:
                continue
            # A round may outlast its assignment, and what was taken in under it may be another's by now.
            if event.message.value.generation == self._handler.generation:
                self._progress[TP(event.message.topic, event.message.partition)] = event.message.offset
            event.ack()


def _log_record(record: Any) -> LogRecord:
    return LogRecord(
        record.topic, record.partition, record.offset, record.timestamp, record.key, record.value, list(record.headers)
    )
