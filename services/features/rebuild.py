"""States made anew from the log, where Redis has lost them.

The effects of the records up to a point were acknowledged before the loss: their vectors are on bnpl-features. Up to
there the log is taken in without sending anything again; what comes after is taken in as usual. The order between the
two inputs doesn't matter to a state, so that both are read as they come. What lies before the log's beginning comes
from the warehouse, before the rest (services.features.prehistory): what was loaded in bulk, then what retention took.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import structlog
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from services.features import log_ends
from services.features.handler import SEND_DEADLINE_S, Sender, moved
from services.features.metrics import REBUILD_GAPS, REBUILDING, REBUILT, REBUILT_ROWS
from services.features.outgoing import records_of
from services.features.past import PastRecord
from services.features.pipeline import SERVICE, BatchResult, Decoded, LogRecord, customers_of, decode, process
from services.features.prehistory import Prehistory
from shared.contracts.pseudonyms import OFF, Pseudonyms
from shared.contracts.topics import OUTCOMES, TRANSACTIONS
from shared.contracts.transactions import Limits
from shared.feature_definitions import CustomerState
from shared.feature_state import EMPTY, FeatureStateStore, Move, Position, StatesLost
from shared.kafka import groups
from shared.kafka.connection import SILENCE_SECONDS
from shared.kafka.errors import TransientError
from shared.settings import KafkaSettings
from shared.telemetry.tracing import HANDED_ON

log = structlog.get_logger()

GROUP = f"flit-{SERVICE}"

CHUNK_RECORDS = 2000
"""Taken in together: some 100 ms in which nothing else of this process runs."""

FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.2, 5.0


class OwnedByOthers(Exception):
    """A running process owns the partitions: it has to be stopped first, or would be fenced off."""


class Rebuilder:
    """Makes a partition's states anew; the caller is the one who owns the partition.

    Crash-safe: states and position move together as ever, and what is to be reached stands beside them, so that whoever
    gets the partition next goes on where this one stopped.
    """

    def __init__(
        self,
        store: FeatureStateStore,
        sender: Sender,
        kafka: KafkaSettings,
        prehistory: Prehistory,
        *,
        limits: Limits,
        now: Callable[[], str],
        round_records: int,
        pseudonyms: Pseudonyms = OFF,
    ) -> None:
        """`round_records`: that the service takes in of a partition's topic, at most, before it waits for
        acknowledgements."""
        self._round_records = round_records
        self._store = store
        self._sender = sender
        self._kafka = kafka
        self._prehistory = prehistory
        self._limits = limits
        self._pseudonyms = pseudonyms
        self._now = now

    async def rebuild(self, partition: int) -> None:
        """Return once the states are whole. Waits while Redis, Kafka or the warehouse is away. Raises FencedOff where
        another process is at it as well, and RecordsMissing where nobody has all of the records any more."""
        pause = FIRST_PAUSE_S
        REBUILDING.labels(partition).set(1)
        while True:
            try:
                await self._rebuild(partition)
                REBUILDING.labels(partition).set(0)
                return
            except StatesLost:
                log.error("lost_again_while_rebuilding", partition=partition)
            except (TransientError, KafkaError, OSError) as error:
                log.warning("waiting_for_dependency", error=str(error))
                await asyncio.sleep(pause)
                pause = min(2 * pause, LONGEST_PAUSE_S)

    def show_only(self, lost: Collection[int], owned: Collection[int]) -> None:
        """Tell no more of what others have by now, nor of rebuilds that were given up or that another process finished:
        else it would be shown, and alarm people, for as long as this process lives. What nobody has of our own
        partitions' records stays told."""
        for partition in range(self._kafka.partitions):
            if partition in owned:
                # One that waits for its turn, too.
                REBUILDING.labels(partition).set(partition in lost)
            else:
                REBUILDING.remove(partition)
                for topic in (TRANSACTIONS.name, OUTCOMES.name):
                    REBUILD_GAPS.remove(topic, partition)

    async def taken_in(self, partitions: Collection[int]) -> dict[int, Position]:
        """How far each partition was taken in at least, as the group has committed; nothing where that can't be asked.

        The group commits what is in the states, so states can't be behind it, unless Redis has lost its last writes.
        What lies beyond the end of the log was committed of a log that has lost its end since: what comes there now is
        new.
        """
        inputs = TRANSACTIONS.name, OUTCOMES.name
        places = [TopicPartition(topic, partition) for partition in partitions for topic in inputs]
        if not places:
            return {}
        try:
            committed = await log_ends.committed(self._kafka, GROUP, places)
            async with log_ends.reader(self._kafka) as consumer:
                ends = await consumer.end_offsets(places)
        except (TransientError, KafkaError, OSError) as error:
            log.warning("commits_not_read", error=repr(error))
            return {}
        reached = {tp: min(committed.get(tp, 0), end) - 1 for tp, end in ends.items()}
        return {
            partition: Position(*(reached[TopicPartition(topic, partition)] for topic in inputs))
            for partition in partitions
        }

    async def check(self, partition: int) -> None:
        """Raise RecordsMissing where a rebuild from nothing would."""
        async with log_ends.reader(self._kafka) as consumer:
            inputs = (TopicPartition(TRANSACTIONS.name, partition), TopicPartition(OUTCOMES.name, partition))
            ends = await consumer.end_offsets(inputs)
            last = Position(*(ends[tp] - 1 for tp in inputs))
            await self._prehistory.stretches(consumer, partition, EMPTY, last)

    async def _rebuild(self, partition: int) -> None:
        inputs = (TopicPartition(TRANSACTIONS.name, partition), TopicPartition(OUTCOMES.name, partition))
        async with log_ends.reader(self._kafka) as consumer:
            committed = await log_ends.committed(self._kafka, GROUP, inputs)
            acknowledged = Position(*(committed.get(tp, 0) - 1 for tp in inputs))
            standing = await self._store.standing(partition)
            if standing.whole:
                return
            target, reached = standing.target or EMPTY, standing.position or EMPTY
            if standing.position is None:
                ends = await consumer.end_offsets(inputs)
                last = Position(*(ends[tp] - 1 for tp in inputs))
                target = await log_ends.target_of(consumer, partition, acknowledged, last)
                reached = await self._begin(partition, target)
            elif reached.is_before_the_log:
                # Loads may have come since: what is there may lie among them.
                await self._store.forget(partition)
                reached = await self._begin(partition, target)
            if reached.is_before_the_log:
                await self._take_in_loaded(partition, reached)
                reached = EMPTY
            if target == EMPTY:
                log.info("partition_begun", partition=partition)
                return
            started = time.monotonic()
            log.warning("rebuilding", partition=partition, after=str(reached), up_to=str(target))
            begun = await self._take_in_past(consumer, partition, reached, target)
            await self._replay(consumer, partition, begun, target, self._sent(inputs, committed, target))
            took = time.monotonic() - started
            records = target.transactions + target.outcomes - reached.transactions - reached.outcomes
            log.warning("rebuilt", partition=partition, records=records, seconds=round(took, 1))

    def _sent(
        self, inputs: Sequence[TopicPartition], committed: Mapping[TopicPartition, int], target: Position
    ) -> Position:
        """Up to where letters and re-sent records are acknowledged for certain: by what the group has committed, and
        where brokers have forgotten that (they do, of a group that is away for long) by the round that the target lies
        in. Sent again, an old record would follow its own correction, or count once more."""
        reached = (target.transactions, target.outcomes)
        return Position(
            *(
                committed[tp] - 1 if tp in committed else max(-1, done - self._round_records)
                for tp, done in zip(inputs, reached, strict=True)
            )
        )

    async def _begin(self, partition: int, target: Position) -> Position:
        """Write the first position of a partition that has none; which one it is."""
        at = Position.before_the_log(0) if self._prehistory.has_loaded else EMPTY
        await self._store.check_partitions(self._kafka.partitions)
        await self._store.begin(partition, target, at=at)
        return at

    async def _take_in_loaded(self, partition: int, at: Position) -> None:
        """Take in what was loaded in bulk, up to the beginning of the log."""
        log.warning("taking_in_loaded_history", partition=partition)
        chunks = 0
        for topic in (TRANSACTIONS.name, OUTCOMES.name):
            async for page in self._prehistory.loaded(topic, partition):
                for start in range(0, len(page), CHUNK_RECORDS):
                    chunks += 1
                    after = Position.before_the_log(chunks)
                    await self._take_in_rows(topic, partition, at, page[start : start + CHUNK_RECORDS], after)
                    at = after
        await self._store.commit([Move(partition, at, EMPTY)])

    async def _take_in_past(
        self, consumer: AIOKafkaConsumer, partition: int, reached: Position, target: Position
    ) -> Position:
        """Take in what the log no longer has; the position up to which that leads."""
        at = reached
        for stretch in await self._prehistory.stretches(consumer, partition, reached, target):
            async for page in self._prehistory.records(stretch):
                for start in range(0, len(page), CHUNK_RECORDS):
                    chunk = page[start : start + CHUNK_RECORDS]
                    after = moved(at, stretch.topic, chunk[-1].offset)
                    await self._take_in_rows(stretch.topic, partition, at, chunk, after)
                    at = after
            # Offsets without a row may come last.
            after = moved(at, stretch.topic, stretch.high - 1)
            await self._take_in_rows(stretch.topic, partition, at, [], after)
            at = after
        return at

    async def _take_in_rows(
        self, topic: str, partition: int, at: Position, past: Sequence[PastRecord], after: Position
    ) -> None:
        if after == at:
            return
        known = [(record.place(topic, partition), record.accepted) for record in past if record.accepted is not None]
        changed: dict[str, CustomerState] = {}
        result = await self._process(
            partition, at, [record for record, _ in known], [accepted for _, accepted in known], changed
        )
        REBUILT.labels(topic).inc(len(past))
        REBUILT_ROWS.labels(topic).inc(len(past))
        states = {name: state.encode() for name, state in changed.items()}
        # No letter is sent again: a row is of a record that was not refused.
        refused = [] if after.is_before_the_log else result.refused_by_state
        await self._store.commit([Move(partition, at, after, states, refused)])
        await asyncio.sleep(0)

    async def _replay(
        self,
        consumer: AIOKafkaConsumer,
        partition: int,
        reached: Position,
        target: Position,
        acknowledged: Position,
    ) -> None:
        transactions = TopicPartition(TRANSACTIONS.name, partition)
        outcomes = TopicPartition(OUTCOMES.name, partition)
        last = {transactions: target.transactions, outcomes: target.outcomes}
        done = {transactions: reached.transactions, outcomes: reached.outcomes}
        sent = {transactions: acknowledged.transactions, outcomes: acknowledged.outcomes}
        await log_ends.seek(consumer, {tp: done[tp] for tp in last if done[tp] < last[tp]})
        heard = time.monotonic()
        while any(done[tp] < last[tp] for tp in last):
            fetched = await consumer.getmany(timeout_ms=500, max_records=CHUNK_RECORDS)
            before, results = Position(done[transactions], done[outcomes]), []
            changed: dict[str, CustomerState] = {}
            for tp, records in fetched.items():
                fresh = [_log_record(record) for record in records if done[tp] < record.offset <= last[tp]]
                results.append(await self._take_in(partition, before, fresh, changed))
                await self._send_again(results[-1], sent[tp])
                REBUILT.labels(tp.topic).inc(len(fresh))
            for tp in last:
                if done[tp] < last[tp]:
                    done[tp] = min(last[tp], max(done[tp], await consumer.position(tp) - 1))
            after = Position(done[transactions], done[outcomes])
            if after != before:
                heard = time.monotonic()
                states = {name: state.encode() for name, state in changed.items()}
                refused = [offset for result in results for offset in result.refused_by_state]
                await self._store.commit([Move(partition, before, after, states, refused)])
            elif time.monotonic() - heard > SILENCE_SECONDS:
                raise TransientError(f"no records of {partition} beyond {after}, though there are up to {target}")
            await asyncio.sleep(0)

    async def _take_in(
        self, partition: int, at: Position, records: Sequence[LogRecord], changed: dict[str, CustomerState]
    ) -> BatchResult:
        decoded = [
            decode(record, partitions=self._kafka.partitions, limits=self._limits, pseudonyms=self._pseudonyms)
            for record in records
        ]
        return await self._process(partition, at, records, decoded, changed)

    async def _process(
        self,
        partition: int,
        at: Position,
        records: Sequence[LogRecord],
        decoded: Sequence[Decoded],
        changed: dict[str, CustomerState],
    ) -> BatchResult:
        """Take the records in; `changed` has what earlier ones of the same move left, and gets what these leave."""
        names = [name for name in customers_of(decoded) if name not in changed]
        held = (await self._store.read_states({partition: names}, {partition: at})).get(partition, {})
        states = {**{name: CustomerState.decode(state) for name, state in held.items()}, **changed}
        result = process(records, decoded, states, outcomes_seen=-1, computed_at="", limits=self._limits, vectors=False)
        changed.update(result.changed)
        return result

    async def _send_again(self, result: BatchResult, acknowledged: int) -> None:
        """Letters and re-sent records of what may have been under way at the loss. Both may come twice."""
        result.refusals = [(why, record) for why, record in result.refusals if record.offset > acknowledged]
        result.reroutes = [(where, record) for where, record in result.reroutes if record.offset > acknowledged]
        outgoing = records_of(result, self._now(), HANDED_ON)
        if outgoing:
            await self._sender.send_all(outgoing, deadline_s=SEND_DEADLINE_S)


async def rebuild_by_hand(
    rebuilder: Rebuilder, store: FeatureStateStore, kafka: KafkaSettings, partitions: Sequence[int]
) -> None:
    """Throw the partitions' states away and make them anew. Raises OwnedByOthers while the service runs anywhere, and
    RecordsMissing, with nothing thrown away, where the states could not be made anew."""
    if count := await groups.running(kafka, GROUP):
        raise OwnedByOthers(f"{count} running process(es) of {GROUP}: stop them first")
    for partition in partitions:
        await rebuilder.check(partition)
    for partition in partitions:
        await store.forget(partition)
        await rebuilder.rebuild(partition)


def _log_record(record: Any) -> LogRecord:
    return LogRecord(
        record.topic, record.partition, record.offset, record.timestamp, record.key, record.value, list(record.headers)
    )
