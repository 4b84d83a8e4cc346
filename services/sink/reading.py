"""What is read from Kafka next: for the lanes that have room."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Protocol

from aiokafka import TopicPartition

from shared.kafka.consumer import Batch

POLL_MS = 100
IMPATIENT_POLL_MS = 10
"""While a lane is full: its room is known after a poll, and until then it has nothing to read."""

POLL_RECORDS = 1000
"""Of all partitions together. By so much a lane may overrun its bound; the rest stays with the client."""

PAUSE_AFTER_S = 1.0
"""A lane that stays full for so long is paused: no more is fetched for it. What the client holds of it stays, one fetch
of its partition at most. Not at once: a client that is asked while all its partitions are paused drops what it holds,
to fetch it again, after a fetch of partitions that have nothing."""


class Consumer(Protocol):
    """What is needed of AIOKafkaConsumer."""

    def paused(self) -> set[TopicPartition]: ...
    def pause(self, *partitions: TopicPartition) -> None: ...
    def resume(self, *partitions: TopicPartition) -> None: ...
    def seek(self, partition: TopicPartition, offset: int) -> None: ...
    async def getmany(
        self, *partitions: TopicPartition, timeout_ms: int = 0, max_records: int | None = None
    ) -> Batch: ...


class Filled(Protocol):
    """What is needed of a lane."""

    opened: bool
    seek_to: int | None

    @property
    def full(self) -> bool: ...
    def raise_if_failed(self) -> None: ...


class Reading:
    """Passes over lanes that are full, so that memory is bounded, and pauses those that stay so."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._full_since: dict[TopicPartition, float] = {}

    async def poll(self, consumer: Consumer, lanes: Mapping[TopicPartition, Filled]) -> Batch:
        """What has come for lanes that have room, perhaps nothing. Raises KafkaError, and what a lane raised."""
        readable = self._readable(consumer, lanes)
        wait_ms = POLL_MS if len(readable) == len(lanes) else IMPATIENT_POLL_MS
        if not readable and len(consumer.paused()) < len(lanes):
            await asyncio.sleep(wait_ms / 1000)  # asked for no partition, the client would give of all
            return {}
        return await consumer.getmany(*readable, timeout_ms=wait_ms, max_records=POLL_RECORDS)

    def forget(self, partitions: Iterable[TopicPartition]) -> None:
        """They have been given away."""
        for partition in partitions:
            self._full_since.pop(partition, None)

    def _readable(self, consumer: Consumer, lanes: Mapping[TopicPartition, Filled]) -> list[TopicPartition]:
        now, paused = self._clock(), consumer.paused()
        readable = []
        for partition, lane in lanes.items():
            lane.raise_if_failed()
            if lane.opened and lane.seek_to is not None:
                consumer.seek(partition, lane.seek_to)
                lane.seek_to = None
            if not lane.full:
                self._full_since.pop(partition, None)
                readable.append(partition)
                if partition in paused:
                    consumer.resume(partition)
            elif now - self._full_since.setdefault(partition, now) >= PAUSE_AFTER_S and partition not in paused:
                consumer.pause(partition)
        return readable
