"""One batch from the log to durable effects."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import Protocol, TypeVar

import structlog

from services.features.metrics import POSITION, REROUTED
from services.features.outgoing import letter_of, rerouted, vector_record
from services.features.pipeline import BatchResult, LogRecord, customers_of, decode, process
from shared.contracts.topics import TRANSACTIONS
from shared.contracts.transactions import Limits
from shared.feature_definitions import CustomerState
from shared.feature_state import FeatureStateStore, Position
from shared.kafka.errors import TransientError
from shared.kafka.producer import OutgoingRecord
from shared.telemetry.metrics import BATCH_SECONDS, EVENTS, INPUT_WARNINGS
from shared.telemetry.metrics import DEAD_LETTERS as DEAD_LETTERS_COUNTED

log = structlog.get_logger()

SERVICE = "features"
T = TypeVar("T")

FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.05, 1.0
"""Between two tries while a dependency is away: the longest is what its return may go unnoticed."""

SEND_DEADLINE_S = 15.0
"""For acknowledgements. Longer than the choice of a new leader takes; after it, the batch is sent again as a whole."""


class SkippedRecords(Exception):
    """The log was handed over with a hole in it: going on would lose records. The process starts again instead."""


class Superseded(Exception):
    """The partitions were given up while a dependency was waited for."""


class Sender(Protocol):
    """Sends, and returns once everything is acknowledged (shared.kafka.producer.ReliableProducer)."""

    async def send_all(self, records: Sequence[OutgoingRecord], *, deadline_s: float | None = None) -> object: ...


class BatchHandler:
    """Takes batches into the states, one at a time of each partition.

    Guarantee: when `handle` returns True, the batch's vectors, letters and re-sent records are acknowledged, and the
    states and the position are written, all at once. Otherwise the position is where it was, and the batch comes again.
    """

    def __init__(
        self, store: FeatureStateStore, sender: Sender, *, partitions: int, limits: Limits, now: Callable[[], str]
    ) -> None:
        """`now`: canonical time, injected so that tests can hold it still."""
        self._store = store
        self._sender = sender
        self._partitions = partitions
        self._limits = limits
        self._now = now
        self._positions: dict[int, Position] = {}
        self._busy = [asyncio.Lock() for _ in range(partitions)]
        """One for each partition: their round trips to Redis and Kafka overlap, their batches never mix."""
        self._waiting: set[int] = set()
        self.generation = 0
        """Of the assignment. What was fetched under an earlier one is passed over: it comes again, here or there."""

    @property
    def waiting(self) -> bool:
        """Whether a dependency is away: then standing still is right."""
        return bool(self._waiting)

    async def release(self) -> None:
        """Give up every partition: wait for the batches in hand (unless they wait for a dependency), take no other."""
        self.generation += 1
        async with self._all_idle():
            self._positions.clear()

    async def resume(self, partitions: Iterable[int], deadline_s: float) -> dict[int, Position]:
        """Begin a new assignment: read the positions anew, since other processes may have moved them.

        Raises TimeoutError where Redis stays away for `deadline_s` seconds, Superseded where the next assignment began.
        """
        self.generation += 1
        generation = self.generation
        async with asyncio.timeout(deadline_s), self._all_idle():
            self._positions = {n: await self._position(generation, n) for n in sorted(set(partitions))}
            return dict(self._positions)

    async def handle(self, records: Sequence[LogRecord], previous_offset: int, generation: int) -> bool:
        """Take in records of one partition of one topic, in order of their offsets. False: passed over.

        `previous_offset`: of the record that was handed over before the first of them. `generation`: that they were
        fetched under. Raises SkippedRecords where `previous_offset` lies beyond what the states hold: then something on
        the way dropped records. Raises FencedOff where another process owns the partition now.
        """
        topic, partition = records[0].topic, records[0].partition
        async with self._busy[partition]:
            before = self._positions.get(partition)
            if before is None or generation != self.generation:
                return False
            done = position_of(before, topic)
            if previous_offset > done:
                raise SkippedRecords(f"{topic}-{partition}: states hold {done}, the batch follows {previous_offset}")
            fresh = [record for record in records if record.offset > done]
            try:
                if fresh:
                    with BATCH_SECONDS.labels(SERVICE).time():
                        await self._take_in(topic, partition, before, fresh, generation)
            except Superseded:
                return False
            finally:
                self._waiting.discard(partition)
            return True

    @asynccontextmanager
    async def _all_idle(self) -> AsyncIterator[None]:
        """Hold every partition's lock."""
        async with AsyncExitStack() as held:
            for lock in self._busy:
                await held.enter_async_context(lock)
            yield

    async def _position(self, generation: int, partition: int) -> Position:
        try:
            return await self._patiently(generation, partition, lambda: self._store.position(partition))
        finally:
            self._waiting.discard(partition)

    async def _take_in(
        self, topic: str, partition: int, before: Position, records: Sequence[LogRecord], generation: int
    ) -> None:
        decoded = [decode(record, partitions=self._partitions, limits=self._limits) for record in records]
        customers = customers_of(decoded)
        held = await self._patiently(generation, partition, lambda: self._store.read_states(partition, customers))
        result = process(
            records,
            decoded,
            {name: CustomerState.decode(data) for name, data in held.items()},
            outcomes_seen=before.outcomes,
            computed_at=self._now(),
            limits=self._limits,
        )
        outgoing = self._outgoing(result)
        if outgoing:
            send = partial(self._sender.send_all, outgoing, deadline_s=SEND_DEADLINE_S)
            await self._patiently(generation, partition, send)
        after = _moved(before, topic, records[-1].offset)
        states = {name: state.encode() for name, state in result.changed.items()}
        commit = partial(self._store.commit, partition, before, after, states, result.refused_by_state)
        await self._patiently(generation, partition, commit)
        self._positions[partition] = after
        POSITION.labels(topic, partition).set(records[-1].offset)
        _count(topic, result)

    def _outgoing(self, result: BatchResult) -> list[OutgoingRecord]:
        return [
            *(vector_record(vector, record) for vector, record in result.vectors),
            *(rerouted(record, misplaced.partition) for misplaced, record in result.reroutes),
            *(letter_of(rejection, record, SERVICE, self._now()) for rejection, record in result.refusals),
        ]

    async def _patiently(self, generation: int, partition: int, call: Callable[[], Awaitable[T]]) -> T:
        """Wait a transient failure out: without Redis or Kafka there is nothing else to do, and nothing is lost."""
        pause, since = FIRST_PAUSE_S, time.monotonic()
        while True:
            try:
                answer = await call()
            except TransientError as error:
                if generation != self.generation:
                    raise Superseded from error
                self._waiting.add(partition)
                log.warning("waiting_for_dependency", error=str(error), seconds=round(time.monotonic() - since, 1))
                await asyncio.sleep(pause)
                pause = min(2 * pause, LONGEST_PAUSE_S)
            else:
                self._waiting.discard(partition)
                return answer


def position_of(position: Position, topic: str) -> int:
    """The part of a position that belongs to the topic."""
    return position.transactions if topic == TRANSACTIONS.name else position.outcomes


def _moved(position: Position, topic: str, offset: int) -> Position:
    if topic == TRANSACTIONS.name:
        return Position(offset, position.outcomes)
    return Position(position.transactions, offset)


def _count(topic: str, result: BatchResult) -> None:
    for outcome, number in result.results.items():
        EVENTS.labels(SERVICE, topic, outcome).inc(number)
    for rule, number in result.warnings.items():
        INPUT_WARNINGS.labels(SERVICE, rule.value).inc(number)
    # One line for each reason and batch: a producer gone wrong refuses thousands a second.
    refused: dict[str, list[LogRecord]] = {}
    for rejection, record in result.refusals:
        DEAD_LETTERS_COUNTED.labels(SERVICE, rejection.reason.value).inc()
        refused.setdefault(rejection.reason.value, []).append(record)
    for reason, records in refused.items():
        first = records[0]
        log.warning(
            "refused", reason=reason, records=len(records), topic=topic, partition=first.partition, first=first.offset
        )
    if result.reroutes:
        REROUTED.inc(len(result.reroutes))
