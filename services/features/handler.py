"""Batches from the log to durable effects."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from typing import Protocol, TypeVar

import structlog

from services.features.metrics import POSITION, REROUTED
from services.features.outgoing import records_of
from services.features.pipeline import SERVICE, BatchResult, Decoded, LogRecord, customers_of, decode, process
from shared.contracts.pseudonyms import OFF, Pseudonyms
from shared.contracts.topics import TRANSACTIONS
from shared.contracts.transactions import Limits
from shared.feature_definitions import CustomerState
from shared.feature_state import EMPTY, FeatureStateStore, FencedOff, Move, Position, Standing
from shared.kafka.errors import TransientError
from shared.kafka.producer import OutgoingRecord
from shared.kafka.refusal_limit import RefusalLimit
from shared.telemetry.metrics import BATCH_SECONDS, EVENTS, INPUT_WARNINGS
from shared.telemetry.metrics import DEAD_LETTERS as DEAD_LETTERS_COUNTED
from shared.telemetry.tracing import OFF as UNTRACED
from shared.telemetry.tracing import Processing, Tracing

log = structlog.get_logger()

T = TypeVar("T")

FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.05, 1.0
"""Between two tries while a dependency is away: the longest is what its return may go unnoticed."""

SEND_DEADLINE_S = 15.0
"""For acknowledgements. Longer than the choice of a new leader takes; after it, the batch is sent again as a whole."""


class SkippedRecords(Exception):
    """The log was handed over with a hole in it: going on would lose records. The process starts again instead."""


class LogWentBack(Exception):
    """The client was sent back to an earlier offset than it had read up to, as it is where the log has lost its end or
    is another one: what comes now under offsets that were taken in is new, and would pass for taken in."""


class Superseded(Exception):
    """The partitions were given up while a dependency was waited for."""


class Sender(Protocol):
    """Sends, and returns once everything is acknowledged (shared.kafka.producer.ReliableProducer)."""

    async def send_all(self, records: Sequence[OutgoingRecord], *, deadline_s: float | None = None) -> object: ...


@dataclass(frozen=True, slots=True)
class Batch:
    """Records of one partition of one topic, in order of their offsets, as they were handed over together."""

    records: Sequence[LogRecord]
    previous_offset: int
    """Of the record that was handed over before the first of them."""
    generation: int
    """Of the assignment that they were fetched under."""


@dataclass(frozen=True, slots=True)
class _Step:
    """A batch's records that the states don't hold yet."""

    topic: str
    partition: int
    before: Position
    after: Position
    records: Sequence[LogRecord]


class BatchHandler:
    """Takes batches into the states: all that wait, of any partition, in one round.

    A round costs two round trips to Redis and one to Kafka, however many batches it holds. While it lasts others come
    in: the busier, the fewer and the larger the rounds.

    Guarantee: when `handle` says that a batch was taken, its vectors, letters and re-sent records are acknowledged, and
    its states and position are written, all at once. Otherwise the position is where it was, and the batch comes again.
    """

    def __init__(
        self,
        store: FeatureStateStore,
        sender: Sender,
        *,
        partitions: int,
        limits: Limits,
        refusals: RefusalLimit,
        now: Callable[[], str],
        pseudonyms: Pseudonyms = OFF,
        tracing: Tracing = UNTRACED,
    ) -> None:
        """`now`: canonical time, injected so that tests can hold it still."""
        self._refusals = refusals
        self._store = store
        self._sender = sender
        self._partitions = partitions
        self._limits = limits
        self._pseudonyms = pseudonyms
        self._now = now
        self._tracing = tracing
        self._positions: dict[int, Position] = {}
        self._seen: dict[int, Position] = {}
        """How far each partition was when we saw it last: states of before that have lost something."""
        self._busy = asyncio.Lock()
        self.waiting = False
        """Whether a dependency is away: then standing still is right."""
        self.generation = 0
        """Of the assignment. What was fetched under an earlier one is passed over: it comes again, here or there."""

    async def release(self) -> None:
        """Give up every partition: wait for the round in hand (unless it waits for a dependency), take no other."""
        self.generation += 1
        async with self._busy:
            self._positions.clear()

    async def resume(
        self, partitions: Iterable[int], deadline_s: float, at_least: Mapping[int, Position] = MappingProxyType({})
    ) -> dict[int, Position]:
        """Begin a new assignment: read the positions anew, since other processes may have moved them.

        Gives those of the partitions whose states are whole; only these are taken in from then on. The others were
        lost, or are new, and have to be rebuilt first. `at_least`: how far partitions were taken in, by what others
        know; states that are of an earlier time than that, or than we have seen, are marked as being rebuilt.

        Raises TimeoutError where Redis stays away for `deadline_s` seconds, Superseded where the next assignment began.
        """
        self.generation += 1
        generation = self.generation
        async with asyncio.timeout(deadline_s), self._busy:
            try:
                standings = {
                    partition: await self._standing(generation, partition, at_least.get(partition, EMPTY))
                    for partition in sorted(set(partitions))
                }
                if self.generation != generation:
                    raise Superseded
                self._positions = {
                    partition: standing.position
                    for partition, standing in standings.items()
                    if standing.position is not None and standing.target is None
                }
            finally:
                self.waiting = False
            return dict(self._positions)

    async def _standing(self, generation: int, partition: int, at_least: Position) -> Standing:
        """How it is with a partition, marked where it has fallen behind."""
        standing = await self._patiently(generation, partial(self._store.standing, partition))
        held, known = standing.position, at_least.or_later(self._seen.get(partition, EMPTY))
        if held is None or standing.target is not None:
            return standing
        if held == (target := held.or_later(known)):
            self._seen[partition] = held
            return standing
        log.error("states_went_back", partition=partition, after=str(held), up_to=str(target))
        await self._patiently(generation, partial(self._store.fall_behind, partition, held, target))
        return Standing(held, target)

    async def has_lost_states(self) -> bool:
        """Whether Redis has lost a partition that is taken in, or its last writes; False while it doesn't answer."""
        generation, reached = self.generation, dict(self._positions)
        try:
            standings = {partition: await self._store.standing(partition) for partition in reached}
        except TransientError:
            return False
        return generation == self.generation and any(
            standing.position is None or standing.target is not None or standing.position.is_behind(reached[partition])
            for partition, standing in standings.items()
        )

    async def handle(self, batches: Sequence[Batch]) -> list[bool]:
        """Take in the batches, in order. For each, whether it was taken; otherwise it was passed over.

        Raises SkippedRecords where a batch's `previous_offset` lies beyond what the states hold: then something on the
        way dropped records; LogWentBack where the batch comes after a later one. Raises TooManyRefused where a topic
        goes wrong; then nothing was taken. Raises FencedOff where another process owns a partition now, and StatesLost
        where Redis has lost one, or its last writes.
        """
        async with self._busy:
            steps, taken = self._sort_out(batches)
            generation = self.generation
            try:
                if steps:
                    records = [record for step in steps for record in step.records]
                    with BATCH_SECONDS.labels(SERVICE).time(), self._tracing.processing(records) as processing:
                        await self._take_in(steps, generation, processing)
            except Superseded:
                return [False] * len(batches)
            except FencedOff:
                if generation == self.generation:
                    raise
                # A round that outlasted its assignment: the next owner was given the partition meanwhile, and rightly.
                return [False] * len(batches)
            finally:
                self.waiting = False
            return taken

    def _sort_out(self, batches: Sequence[Batch]) -> tuple[list[_Step], list[bool]]:
        """What there is to do, and which batches that covers."""
        reached = dict(self._positions)
        steps, taken = [], []
        for batch in batches:
            topic, partition = batch.records[0].topic, batch.records[0].partition
            before = reached.get(partition)
            if before is None or batch.generation != self.generation:
                taken.append(False)
                continue
            done = position_of(before, topic)
            if batch.previous_offset > done:
                raise SkippedRecords(
                    f"{topic}-{partition}: states hold {done}, the batch follows {batch.previous_offset}"
                )
            if batch.records[0].offset <= batch.previous_offset:
                raise LogWentBack(f"{topic}-{partition}: {batch.records[0].offset} came after {batch.previous_offset}")
            taken.append(True)
            fresh = [record for record in batch.records if record.offset > done]
            if fresh:
                after = moved(before, topic, fresh[-1].offset)
                steps.append(_Step(topic, partition, before, after, fresh))
                reached[partition] = after
        return steps, taken

    async def _take_in(self, steps: Sequence[_Step], generation: int, processing: Processing) -> None:
        decoded = [
            [
                decode(record, partitions=self._partitions, limits=self._limits, pseudonyms=self._pseudonyms)
                for record in step.records
            ]
            for step in steps
        ]
        # As long as the states are those of our position, what is made of them is right: whatever happens to Redis.
        states = await self._states(steps, decoded, generation)
        computed_at = self._now()
        results = [
            process(
                step.records,
                items,
                states.get(step.partition, {}),
                outcomes_seen=step.before.outcomes,
                computed_at=computed_at,
                limits=self._limits,
            )
            for step, items in zip(steps, decoded, strict=True)
        ]
        self._refusals.check(_refusals_by_topic(steps, results))
        outgoing = [record for result in results for record in records_of(result, computed_at, processing)]
        if outgoing:
            send = partial(self._sender.send_all, outgoing, deadline_s=SEND_DEADLINE_S)
            await self._patiently(generation, send)
        moves = _moves(steps, results)
        await self._patiently(generation, partial(self._store.commit, moves))
        for step, result in zip(steps, results, strict=True):
            self._positions[step.partition] = self._seen[step.partition] = step.after
            POSITION.labels(step.topic, step.partition).set(position_of(step.after, step.topic))
            _count(step.topic, result)

    async def _states(
        self, steps: Sequence[_Step], decoded: Sequence[Sequence[Decoded]], generation: int
    ) -> dict[int, dict[str, CustomerState]]:
        """Partition → customer → state, of everyone who is in the batches."""
        wanted: dict[int, dict[str, None]] = {}
        for step, items in zip(steps, decoded, strict=True):
            wanted.setdefault(step.partition, {}).update(dict.fromkeys(customers_of(items)))
        names = {partition: list(customers) for partition, customers in wanted.items()}
        held = await self._patiently(generation, partial(self._store.read_states, names, dict(self._positions)))
        return {
            partition: {name: CustomerState.decode(data) for name, data in of_partition.items()}
            for partition, of_partition in held.items()
        }

    async def _patiently(self, generation: int, call: Callable[[], Awaitable[T]]) -> T:
        """Wait a transient failure out: without Redis or Kafka there is nothing else to do, and nothing is lost."""
        pause, since = FIRST_PAUSE_S, time.monotonic()
        while True:
            try:
                answer = await call()
            except TransientError as error:
                if generation != self.generation:
                    raise Superseded from error
                self.waiting = True
                log.warning("waiting_for_dependency", error=str(error), seconds=round(time.monotonic() - since, 1))
                await asyncio.sleep(pause)
                pause = min(2 * pause, LONGEST_PAUSE_S)
            else:
                self.waiting = False
                return answer


def position_of(position: Position, topic: str) -> int:
    """The part of a position that belongs to the topic."""
    return position.transactions if topic == TRANSACTIONS.name else position.outcomes


def moved(position: Position, topic: str, offset: int) -> Position:
    """The position with the topic's records up to the offset in it."""
    if topic == TRANSACTIONS.name:
        return Position(offset, position.outcomes)
    return Position(position.transactions, offset)


def _refusals_by_topic(steps: Sequence[_Step], results: Sequence[BatchResult]) -> dict[str, tuple[int, int]]:
    counts: dict[str, tuple[int, int]] = {}
    for step, result in zip(steps, results, strict=True):
        records, refused = counts.get(step.topic, (0, 0))
        counts[step.topic] = (records + len(step.records), refused + len(result.refusals))
    return counts


def _moves(steps: Sequence[_Step], results: Sequence[BatchResult]) -> list[Move]:
    """One for each partition, over all of its steps."""
    of_partition: dict[int, list[tuple[_Step, BatchResult]]] = {}
    for step, result in zip(steps, results, strict=True):
        of_partition.setdefault(step.partition, []).append((step, result))
    moves = []
    for partition, done in of_partition.items():
        changed: dict[str, CustomerState] = {}
        for _, result in done:
            changed.update(result.changed)
        states = {name: state.encode() for name, state in changed.items()}
        refused = [offset for _, result in done for offset in (*result.refused_by_state, *result.refused_by_limit)]
        moves.append(Move(partition, done[0][0].before, done[-1][0].after, states, refused))
    return moves


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
