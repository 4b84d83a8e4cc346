"""One batch from the log to durable effects."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol, TypeVar

import structlog

from services.features.metrics import POSITION, REROUTED
from services.features.pipeline import (
    BatchResult,
    LogRecord,
    customers_of,
    decode,
    process,
    rerouted_headers,
)
from shared.contracts.dead_letters import dead_letter
from shared.contracts.events import encode
from shared.contracts.headers import TRACEPARENT_HEADER, cloud_event, header
from shared.contracts.topics import DEAD_LETTERS, FEATURES, TRANSACTIONS
from shared.contracts.transactions import Limits
from shared.feature_definitions import CustomerState
from shared.feature_state import FeatureStateStore, Position
from shared.kafka.errors import TransientError
from shared.kafka.producer import OutgoingRecord
from shared.telemetry.metrics import BATCH_SECONDS, EVENTS, INPUT_WARNINGS
from shared.telemetry.metrics import DEAD_LETTERS as DEAD_LETTERS_COUNTED

log = structlog.get_logger()

SERVICE = "features"
SOURCE = "flit/features"
T = TypeVar("T")

FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.1, 5.0


class SkippedRecords(Exception):
    """The log was handed over with a hole in it: going on would lose records. The process starts again instead."""


class Sender(Protocol):
    """Sends, and returns once everything is acknowledged (shared.kafka.producer.ReliableProducer)."""

    async def send_all(self, records: Sequence[OutgoingRecord]) -> object: ...


class BatchHandler:
    """Takes batches into the states. One batch at a time, whatever the partition.

    Guarantee: when `handle` returns, the batch's vectors, letters and re-sent records are acknowledged, and the states
    and the position are written, all at once. What it raises leaves the position where it was: the batch comes again.
    Raises FencedOff where another process owns the partition now.
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
        self._busy = asyncio.Lock()

    async def resume_from(self, partition: int) -> Position:
        """Read the position anew: after an assignment another process may have moved it."""
        async with self._busy:
            position = await _patiently(lambda: self._store.position(partition))
            self._positions[partition] = position
            return position

    async def idle(self) -> None:
        """Wait until no batch is in hand."""
        async with self._busy:
            return

    async def handle(self, records: Sequence[LogRecord], previous_offset: int) -> None:
        """Take in records of one partition of one topic, in order of their offsets.

        `previous_offset`: of the record that was read before the first of them. Raises SkippedRecords where it lies
        beyond what the states hold: then something on the way dropped records.
        """
        async with self._busy:
            started = time.perf_counter()
            topic, partition = records[0].topic, records[0].partition
            before = self._positions.get(partition)
            if before is None:
                before = await _patiently(lambda: self._store.position(partition))
            done = _done(before, topic)
            if previous_offset > done:
                raise SkippedRecords(f"{topic}-{partition}: states hold {done}, the batch follows {previous_offset}")
            fresh = [record for record in records if record.offset > done]
            if fresh:
                await self._take_in(topic, partition, before, fresh)
            BATCH_SECONDS.labels(SERVICE).observe(time.perf_counter() - started)

    async def _take_in(self, topic: str, partition: int, before: Position, records: Sequence[LogRecord]) -> None:
        decoded = [decode(record, partitions=self._partitions, limits=self._limits) for record in records]
        customers = customers_of(decoded)
        held = await _patiently(lambda: self._store.read_states(partition, customers))
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
            await _patiently(lambda: self._sender.send_all(outgoing))
        after = _moved(before, topic, records[-1].offset)
        states = {name: state.encode() for name, state in result.changed.items()}
        await self._commit(partition, before, after, states, result.refused_by_state)
        self._positions[partition] = after
        POSITION.labels(topic, partition).set(records[-1].offset)
        _count(topic, result)

    async def _commit(
        self, partition: int, before: Position, after: Position, states: dict[str, bytes], refused: Sequence[int]
    ) -> None:
        pause = FIRST_PAUSE_S
        while True:
            try:
                await self._store.commit(partition, before, after, states, refused)
                return
            except TransientError as error:
                log.warning("state_not_written", partition=partition, error=str(error))
                await asyncio.sleep(pause)
                pause = min(2 * pause, LONGEST_PAUSE_S)
            # The answer may have been lost on its way back, with the write done.
            if await _patiently(lambda: self._store.position(partition)) == after:
                return

    def _outgoing(self, result: BatchResult) -> list[OutgoingRecord]:
        records = [
            OutgoingRecord(
                FEATURES.name,
                vector.customer_id.encode(),
                encode(vector),
                cloud_event(
                    event_id=vector.event_id,
                    kind="feature-vector",
                    source=SOURCE,
                    time=vector.computed_at,
                    traceparent=header(record.headers, TRACEPARENT_HEADER),
                ),
            )
            for vector, record in result.vectors
        ]
        for misplaced, record in result.reroutes:
            records.append(
                OutgoingRecord(
                    record.topic, record.key, record.value, rerouted_headers(record), misplaced.partition,
                    record.timestamp_ms,
                )
            )  # fmt: skip
        for rejection, record in result.refusals:
            received_at = self._now()
            letter = dead_letter(
                rejection,
                service=SERVICE,
                topic=record.topic,
                partition=record.partition,
                offset=record.offset,
                received_at=received_at,
                key=record.key,
                value=record.value,
                headers=record.headers,
            )
            place = f"{record.topic}-{record.partition}-{record.offset}"
            marks = cloud_event(event_id=place, kind="dead-letter", source=SOURCE, time=received_at)
            records.append(OutgoingRecord(DEAD_LETTERS.name, record.key, encode(letter), marks))
        return records


def _done(position: Position, topic: str) -> int:
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
    for rejection, record in result.refusals:
        DEAD_LETTERS_COUNTED.labels(SERVICE, rejection.reason.value).inc()
        log.warning(
            "refused", reason=rejection.reason.value, topic=topic, partition=record.partition, offset=record.offset
        )
    if result.reroutes:
        REROUTED.inc(len(result.reroutes))


async def _patiently(call: Callable[[], Awaitable[T]]) -> T:
    """Wait a transient failure out: without Redis or Kafka there is nothing else to do, and nothing is lost."""
    pause = FIRST_PAUSE_S
    while True:
        try:
            return await call()
        except TransientError as error:
            log.warning("waiting_for_dependency", error=str(error))
            await asyncio.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE_S)
