"""A producer that returns only once everything is acknowledged."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

import structlog
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError, MessageSizeTooLargeError

from shared.contracts.headers import Headers
from shared.kafka.connection import client_arguments
from shared.kafka.errors import TransientError
from shared.settings import KafkaSettings

log = structlog.get_logger()

REQUEST_TIMEOUT_MS = 10_000
"""A broker that doesn't answer for so long is taken for gone; shorter would turn an election into an error."""

MAX_REQUEST_BYTES = 1_048_576
MAX_BATCH_BYTES = 262_144
CLOSE_TIMEOUT_S = 15.0
"""Longer than a request in flight can last."""

WORTH_A_BATCH = 16
"""Records for one partition, from which on they are put into batches here. The client's own way has a future and a turn
through its queue for each record: some 20 µs, more than the record itself costs. Fewer are left to it, since it puts
those of several callers together."""

FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.1, 2.0


@dataclass(frozen=True, slots=True)
class OutgoingRecord:
    """A record to be sent. Without `partition`, murmur2 of the key decides, as in Kafka's own clients."""

    topic: str
    key: bytes | None
    value: bytes | None
    headers: Headers = field(default_factory=list)
    partition: int | None = None
    timestamp_ms: int | None = None


class ReliableProducer:
    """Idempotent, acks=all. One for each process.

    Guarantee: when `send_all` returns, every record is on its topic, in the given order within a partition. After a
    failure some may stand there twice: the client can't know which of its unacknowledged ones arrived, and a failed
    idempotent producer can't go on, so a new one sends them again. Readers drop repeats by event id.
    """

    def __init__(self, settings: KafkaSettings, *, linger_ms: int = 0, deadline_s: float = 60.0) -> None:
        # Callers hand over whole batches: waiting for more to come would only delay them.
        self._settings = settings
        self._linger_ms = linger_ms
        self._deadline_s = deadline_s
        self._producer: AIOKafkaProducer | None = None
        self._renewing = asyncio.Lock()
        self._closing: set[asyncio.Task[None]] = set()
        """Producers that failed, on their way out: nobody waits for them."""

    async def start(self) -> None:
        """Connect. Raises TransientError where no broker answers."""
        self._producer = await self._connect()

    async def stop(self) -> None:
        """Send what is still in the buffers and close."""
        producer, self._producer = self._producer, None
        if producer is not None:
            await producer.stop()
        await asyncio.gather(*self._closing)

    async def send_all(self, records: Sequence[OutgoingRecord], *, deadline_s: float | None = None) -> list[Any]:
        """Send and await every acknowledgement; give the records' metadata (partition, offset, timestamp).

        Raises TransientError where the deadline (seconds) passes first; then nothing is known of the records. What the
        brokers left unanswered for that long is dropped, not kept for later: the caller will send it again.
        """
        began = time.monotonic()
        give_up_at = began + (self._deadline_s if deadline_s is None else deadline_s)
        pause = FIRST_PAUSE_S
        while True:
            used = self._producer
            try:
                async with asyncio.timeout_at(_loop_time(give_up_at)):
                    if used is None:
                        used = await self._renew()
                    return await self._attempt(used, records)
            except MessageSizeTooLargeError:
                raise  # a terminal fault of the record, not of the broker
            except (KafkaError, TimeoutError, TransientError, OSError) as error:
                over = time.monotonic() + pause >= give_up_at
                # A caller in a hurry (the checkout) learns nothing about the producer, which others use as well.
                if used is not None and not (over and time.monotonic() - began < REQUEST_TIMEOUT_MS / 1000):
                    self._discard(used)
                if over:
                    raise TransientError(f"not acknowledged in time: {error!r}") from error
                log.warning("send_failed_trying_again", error=repr(error), records=len(records))
                await asyncio.sleep(pause * random.uniform(0.5, 1.0))
                pause = min(pause * 2, LONGEST_PAUSE_S)

    async def _attempt(self, producer: AIOKafkaProducer, records: Sequence[OutgoingRecord]) -> list[Any]:
        places = _worth_a_batch(records)
        if not places:
            return await _one_by_one(producer, records)
        in_batches = {number for numbers in places.values() for number in numbers}
        others = [number for number in range(len(records)) if number not in in_batches]
        groups = await _acknowledged(
            [
                _one_by_one(producer, [records[number] for number in others]),
                *(
                    _in_batches(producer, *place, [records[number] for number in numbers])
                    for place, numbers in places.items()
                ),
            ]
        )
        numbers = chain(others, *places.values())
        placed = dict(zip(numbers, chain.from_iterable(groups), strict=True))
        return [placed[number] for number in range(len(records))]

    async def _connect(self) -> AIOKafkaProducer:
        producer = AIOKafkaProducer(
            **client_arguments(self._settings),
            enable_idempotence=True,
            acks="all",
            linger_ms=self._linger_ms,
            max_batch_size=MAX_BATCH_BYTES,
            max_request_size=MAX_REQUEST_BYTES,
            request_timeout_ms=REQUEST_TIMEOUT_MS,
            compression_type="lz4",
        )
        try:
            await producer.start()
        except (KafkaError, OSError) as error:
            await producer.stop()
            raise TransientError(f"brokers at {self._settings.bootstrap_servers}: {error!r}") from error
        except BaseException:
            # Whoever wanted it has no more time. Its tasks and sockets would stay.
            await asyncio.shield(asyncio.ensure_future(producer.stop()))
            raise
        return producer

    async def _renew(self) -> AIOKafkaProducer:
        async with self._renewing:
            if self._producer is None:
                self._producer = await self._connect()
            return self._producer

    def _discard(self, producer: AIOKafkaProducer) -> None:
        """Drop a producer that failed: its sequence numbers no longer fit what the broker holds."""
        if self._producer is not producer:
            return  # another caller has done it
        self._producer = None
        task = asyncio.create_task(_close(producer), name="close-failed-producer")
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)


def _worth_a_batch(records: Sequence[OutgoingRecord]) -> dict[tuple[str, int], list[int]]:
    """(topic, partition) → which records go there, where they are many. Not of a topic for some of whose records the
    client chooses the partition: these might overtake, or be overtaken."""
    if len(records) < WORTH_A_BATCH:
        return {}
    chosen = {record.topic for record in records if record.partition is None}
    places: dict[tuple[str, int], list[int]] = {}
    for number, record in enumerate(records):
        if record.partition is not None and record.topic not in chosen:
            places.setdefault((record.topic, record.partition), []).append(number)
    return {place: numbers for place, numbers in places.items() if len(numbers) >= WORTH_A_BATCH}


async def _in_batches(
    producer: AIOKafkaProducer, topic: str, partition: int, records: Sequence[OutgoingRecord]
) -> list[Any]:
    """Send the records in batches that are put together here; the metadata of each record."""
    pending: list[Awaitable[Any]] = []
    timestamps: list[list[int]] = [[]]
    batch = producer.create_batch()

    def append(record: OutgoingRecord) -> Any:
        return batch.append(timestamp=record.timestamp_ms, key=record.key, value=record.value, headers=record.headers)

    for record in records:
        if (appended := append(record)) is None:  # it is full; an empty one takes any record
            pending.append(await producer.send_batch(batch, topic, partition=partition))
            batch = producer.create_batch()
            timestamps.append([])
            appended = append(record)
        timestamps[-1].append(appended.timestamp)
    pending.append(await producer.send_batch(batch, topic, partition=partition))
    return [
        # A broker that takes the record's own timestamp says -1.
        first._replace(offset=first.offset + k, timestamp=own if first.timestamp == -1 else first.timestamp)
        for first, of_batch in zip(await _acknowledged(pending), timestamps, strict=True)
        for k, own in enumerate(of_batch)
    ]


async def _one_by_one(producer: AIOKafkaProducer, records: Sequence[OutgoingRecord]) -> list[Any]:
    """Send the records the client's own way; the metadata of each."""
    return await _acknowledged(
        [
            await producer.send(
                record.topic,
                record.value,
                key=record.key,
                partition=record.partition,
                timestamp_ms=record.timestamp_ms,
                headers=record.headers,
            )
            for record in records
        ]
    )


async def _acknowledged(pending: Sequence[Awaitable[Any]]) -> list[Any]:
    """All answers; the first error only once every one of them has its answer."""
    if len(pending) == 1:  # a checkout's
        return [await pending[0]]
    answers = await asyncio.gather(*pending, return_exceptions=True)
    for answer in answers:
        if isinstance(answer, BaseException):
            raise answer
    return answers


async def _close(producer: AIOKafkaProducer) -> None:
    # The client's own stop sends what is left in its buffers first, for as long as that takes: those records go out
    # again through the next producer, and would stand there twice.
    sender = producer._sender  # there is no public way to drop what is unsent
    sending = None if sender is None else sender.sender_task
    if sending is not None:
        sending.cancel()
    accumulator = producer._message_accumulator
    unanswered = [*chain.from_iterable(accumulator._batches.values()), *accumulator._pending_batches]
    accumulator.fail_all(KafkaError("the producer was given up"))
    for batch in unanswered:
        for future in (batch.future, batch._drain_waiter, *(future for future, _ in batch._msg_futures)):
            if future.done() and not future.cancelled():
                future.exception()  # perhaps nobody else asks for it, and asyncio would complain of that
    try:
        if sending is not None:
            # What is in flight may still be answered. The client's own stop would cancel it once more, end with that
            # cancellation, and leave its connections open for good.
            await asyncio.wait([sending], timeout=CLOSE_TIMEOUT_S)
            sending.cancel()
            await asyncio.wait([sending], timeout=CLOSE_TIMEOUT_S)
        async with asyncio.timeout(CLOSE_TIMEOUT_S):
            await producer.stop()
    except (KafkaError, TimeoutError, OSError) as error:
        log.warning("closing_failed_producer", error=repr(error))


def _loop_time(monotonic_deadline: float) -> float:
    return asyncio.get_running_loop().time() + max(0.0, monotonic_deadline - time.monotonic())
