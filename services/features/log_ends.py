"""Where the log of a partition begins and ends, and how far its effects go: what a rebuild has to know of Kafka."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Collection, Mapping
from contextlib import asynccontextmanager

import msgspec
import structlog
from aiokafka import AIOKafkaConsumer, TopicPartition

from shared.contracts.headers import REPLAYED_FROM_HEADER, header
from shared.contracts.topics import FEATURES
from shared.contracts.wire import UNREADABLE
from shared.feature_state import Position
from shared.kafka import groups
from shared.kafka.connection import SILENCE_SECONDS, admin_client, client_arguments
from shared.kafka.errors import TransientError
from shared.settings import KafkaSettings

log = structlog.get_logger()

COORDINATOR_SECONDS = 10.0
"""For which a group's coordinator that is moving is waited for. Faust waits for an assignment to be taken up."""

TAIL_VECTORS = 10_000
"""Looked at for how far the vectors go. After a crash the last of them may be repeats of earlier ones: of a
round, a few thousand at most."""


class _AsOf(msgspec.Struct, gc=False):
    transactions: int
    outcomes: int


class _Vector(msgspec.Struct, gc=False):
    as_of: _AsOf


_VECTOR = msgspec.json.Decoder(_Vector)


@asynccontextmanager
async def reader(kafka: KafkaSettings) -> AsyncIterator[AIOKafkaConsumer]:
    """Outside of the group, whose members it must not disturb.

    What it is to read next may be taken by retention at any moment: that is an error then, and never passed over.
    """
    consumer = AIOKafkaConsumer(
        **client_arguments(kafka),
        enable_auto_commit=False,
        auto_offset_reset="none",
        max_partition_fetch_bytes=8_388_608,
        fetch_max_wait_ms=50,
    )
    try:
        await consumer.start()
        yield consumer
    finally:
        await consumer.stop()


async def target_of(consumer: AIOKafkaConsumer, partition: int, acknowledged: Position, last: Position) -> Position:
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
        consumer.assign([vectors])
        consumer.seek(vectors, max(first, end - TAIL_VECTORS))
        heard = time.monotonic()
        while await consumer.position(vectors) < end:
            for records in (await consumer.getmany(timeout_ms=500)).values():
                heard = time.monotonic()
                for record in records:
                    as_of = _as_of(record.value)
                    # One that was sent again says nothing of where the latest are.
                    if as_of is not None and header(record.headers, REPLAYED_FROM_HEADER) is None:
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
    except UNREADABLE:
        return None


async def seek(consumer: AIOKafkaConsumer, done: Mapping[TopicPartition, int]) -> None:
    """Read on after the given offsets. Raises TransientError where retention has taken what comes next."""
    if not done:
        return  # with nothing assigned to it, the client would never stop
    first = await consumer.beginning_offsets(list(done))
    for tp, offset in done.items():
        if offset + 1 < first[tp]:
            raise TransientError(f"retention has moved on: {tp.topic}-{tp.partition} begins at {first[tp]} now")
    # At once, or the client would look for a beginning of its own, and find that it may not.
    consumer.assign(list(done))
    for tp, offset in done.items():
        consumer.seek(tp, offset + 1)


async def committed(kafka: KafkaSettings, group: str, places: Collection[TopicPartition]) -> dict[TopicPartition, int]:
    """The offsets that a group has committed in these places. Raises TransientError, KafkaError."""
    async with admin_client(kafka) as admin:
        return await groups.committed(admin, group, places, patience_s=COORDINATOR_SECONDS)
