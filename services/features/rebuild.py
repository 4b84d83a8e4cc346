"""States made anew from the log, where Redis has lost them.

The effects of the records up to a point were acknowledged before the loss: their vectors are on bnpl-features. Up to
there the log is taken in without sending anything again; what comes after is taken in as usual. The order between the
two inputs doesn't matter to a state, so that both are read as they come.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import structlog
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

from services.features.handler import SEND_DEADLINE_S, Sender
from services.features.metrics import REBUILDING, REBUILT
from services.features.outgoing import SERVICE, records_of
from services.features.pipeline import BatchResult, LogRecord, customers_of, decode, process
from shared.contracts.pseudonyms import OFF, Pseudonyms
from shared.contracts.topics import FEATURES, OUTCOMES, TRANSACTIONS
from shared.contracts.transactions import Limits
from shared.feature_definitions import CustomerState
from shared.feature_state import EMPTY, FeatureStateStore, Move, Position, StatesLost
from shared.kafka.connection import client_arguments
from shared.kafka.errors import TransientError
from shared.settings import KafkaSettings

log = structlog.get_logger()

GROUP = f"flit-{SERVICE}"

CHUNK_RECORDS = 2000
"""Taken in together: some 100 ms in which nothing else of this process runs."""

TAIL_VECTORS = 10_000
"""Looked at for how far the vectors go. After a crash the last of them may be repeats of earlier ones: of a
round, a few thousand at most."""

SILENCE_SECONDS = 30.0
"""Without a record that has to be there, the connection is given up and made anew."""

FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.2, 5.0


class OwnedByOthers(Exception):
    """A running process owns the partitions: it has to be stopped first, or would be fenced off."""


class _AsOf(msgspec.Struct, gc=False):
    transactions: int
    outcomes: int


class _Vector(msgspec.Struct, gc=False):
    as_of: _AsOf


_VECTOR = msgspec.json.Decoder(_Vector)


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
        *,
        limits: Limits,
        now: Callable[[], str],
        pseudonyms: Pseudonyms = OFF,
    ) -> None:
        self._store = store
        self._sender = sender
        self._kafka = kafka
        self._limits = limits
        self._pseudonyms = pseudonyms
        self._now = now

    async def rebuild(self, partition: int) -> None:
        """Return once the states are whole. Waits while Redis or Kafka is away. Raises FencedOff where another process
        is at it as well."""
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

    async def taken_in(self, partitions: Collection[int]) -> dict[int, Position]:
        """How far each partition was taken in at least, as the group has committed; nothing where that can't be asked.

        The group commits what is in the states, so states can't be behind it, unless Redis has lost its last writes.
        """
        try:
            committed = await _committed(self._kafka)
        except (KafkaError, OSError) as error:
            log.warning("commits_not_read", error=repr(error))
            return {}
        inputs = TRANSACTIONS.name, OUTCOMES.name
        return {
            partition: Position(*(committed.get(TopicPartition(topic, partition), 0) - 1 for topic in inputs))
            for partition in partitions
        }

    async def _rebuild(self, partition: int) -> None:
        inputs = (TopicPartition(TRANSACTIONS.name, partition), TopicPartition(OUTCOMES.name, partition))
        async with _consumer(self._kafka) as consumer:
            committed = await _committed(self._kafka)
            acknowledged = Position(*(committed.get(tp, 0) - 1 for tp in inputs))
            standing = await self._store.standing(partition)
            if standing.whole:
                return
            target, reached = standing.target or EMPTY, standing.position or EMPTY
            if standing.position is None:
                ends = await consumer.end_offsets(inputs)
                last = Position(*(ends[tp] - 1 for tp in inputs))
                target = await _target(consumer, partition, acknowledged, last)
                await self._store.check_partitions(self._kafka.partitions)
                await self._store.begin(partition, target)
            if target == EMPTY:
                log.info("partition_begun", partition=partition)
                return
            started = time.monotonic()
            log.warning("rebuilding", partition=partition, after=str(reached), up_to=str(target))
            await self._replay(consumer, partition, reached, target, acknowledged)
            took = time.monotonic() - started
            records = target.transactions + target.outcomes - reached.transactions - reached.outcomes
            log.warning("rebuilt", partition=partition, records=records, seconds=round(took, 1))

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
        await _seek(consumer, done)
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
        """Take the records in; `changed` has what earlier ones of the same move left, and gets what these leave."""
        decoded = [
            decode(record, partitions=self._kafka.partitions, limits=self._limits, pseudonyms=self._pseudonyms)
            for record in records
        ]
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
        outgoing = records_of(result, self._now())
        if outgoing:
            await self._sender.send_all(outgoing, deadline_s=SEND_DEADLINE_S)


async def rebuild_by_hand(
    rebuilder: Rebuilder, store: FeatureStateStore, kafka: KafkaSettings, partitions: Sequence[int]
) -> None:
    """Throw the partitions' states away and make them anew. Raises OwnedByOthers while the service runs anywhere."""
    members = await _members(kafka)
    if members:
        raise OwnedByOthers(f"{members} running process(es) of {GROUP}: stop them first")
    for partition in partitions:
        await store.forget(partition)
        await rebuilder.rebuild(partition)


async def _target(consumer: AIOKafkaConsumer, partition: int, acknowledged: Position, last: Position) -> Position:
    """Up to where effects are acknowledged: by the vectors themselves, and by what the group has committed.

    Vectors are sent in the order of their purchases, so that the greatest `as_of` among the latest is that of the
    position; commits lag behind, but cover what led to no vector.
    """
    vectors = TopicPartition(FEATURES.name, partition)
    first, end = (
        (await consumer.beginning_offsets([vectors]))[vectors],
        (await consumer.end_offsets([vectors]))[vectors],
    )
    transactions, outcomes = acknowledged.transactions, acknowledged.outcomes
    if end > first:
        await _seek(consumer, {vectors: max(first, end - TAIL_VECTORS) - 1})
        heard = time.monotonic()
        while await consumer.position(vectors) < end:
            for records in (await consumer.getmany(timeout_ms=500)).values():
                heard = time.monotonic()
                for record in records:
                    as_of = _as_of(record.value)
                    if as_of is not None:
                        transactions = max(transactions, as_of.transactions + 1)
                        outcomes = max(outcomes, as_of.outcomes)
            if time.monotonic() - heard > SILENCE_SECONDS:
                raise TransientError(f"no records of {vectors.topic}-{partition}")
    if transactions > last.transactions or outcomes > last.outcomes:
        log.error("log_lost_its_end", partition=partition, taken_in=f"{transactions},{outcomes}", last=str(last))
    return Position(min(transactions, last.transactions), min(outcomes, last.outcomes))


def _as_of(value: bytes | None) -> _AsOf | None:
    """None for what the scorer will refuse: anybody may have put it there."""
    try:
        return _VECTOR.decode(value or b"").as_of
    except msgspec.DecodeError:
        return None


async def _seek(consumer: AIOKafkaConsumer, done: dict[TopicPartition, int]) -> None:
    """Read on after the given offsets; say so where retention has taken what comes next."""
    consumer.assign(list(done))
    first = await consumer.beginning_offsets(list(done))
    for tp, offset in done.items():
        if offset + 1 < first[tp] and tp.topic != FEATURES.name:
            log.error("records_expired", topic=tp.topic, partition=tp.partition, after=offset, first=first[tp])
        consumer.seek(tp, max(offset + 1, first[tp]))


@asynccontextmanager
async def _consumer(kafka: KafkaSettings) -> AsyncIterator[AIOKafkaConsumer]:
    """Outside of the group, whose members it must not disturb."""
    consumer = AIOKafkaConsumer(
        **client_arguments(kafka), enable_auto_commit=False, max_partition_fetch_bytes=8_388_608, fetch_max_wait_ms=50
    )
    try:
        await consumer.start()
        yield consumer
    finally:
        await consumer.stop()


@asynccontextmanager
async def _admin(kafka: KafkaSettings) -> AsyncIterator[AIOKafkaAdminClient]:
    admin = AIOKafkaAdminClient(**client_arguments(kafka))
    try:
        await admin.start()
        yield admin
    finally:
        await admin.close()


async def _committed(kafka: KafkaSettings) -> dict[TopicPartition, int]:
    async with _admin(kafka) as admin:
        offsets: dict[TopicPartition, Any] = await admin.list_consumer_group_offsets(GROUP)
    return {tp: at.offset for tp, at in offsets.items() if at.offset >= 0}


async def _members(kafka: KafkaSettings) -> int:
    async with _admin(kafka) as admin:
        (answer,) = await admin.describe_consumer_groups([GROUP])
    return sum(len(group[5]) for group in answer.groups)


def _log_record(record: Any) -> LogRecord:
    return LogRecord(
        record.topic, record.partition, record.offset, record.timestamp, record.key, record.value, list(record.headers)
    )
