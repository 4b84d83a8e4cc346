"""Ends a process that stands still while there is work: a consumer can die without a word."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Collection, Mapping
from typing import Any, NoReturn, Protocol

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from shared.kafka.connection import client_arguments
from shared.kafka.errors import GaveUp, TransientError
from shared.settings import KafkaSettings
from shared.telemetry.metrics import CONSUMER_LAG
from shared.telemetry.process import first_of, or_else_end, patiently

LOOK_SECONDS = 1.0
ANSWER_SECONDS = 5.0
"""For the brokers to tell where the log ends."""


class Stalled(GaveUp):
    """No progress while there is lag. A restart mends what a silent consumer can't."""


class Consuming(Protocol):
    """What is watched: a service's way of consuming."""

    @property
    def positioned(self) -> bool:
        """Whether the group has given it its share, and it knows where to begin."""
        ...

    @property
    def excused(self) -> bool:
        """Whether standing still is right for all of it: a dependency is away."""
        ...

    @property
    def held_up(self) -> Collection[Any]:
        """The partitions for which standing still is right."""
        ...

    def progress(self) -> Mapping[Any, int | None]:
        """Of each assigned partition the offset up to which records are done; None where that isn't known yet."""
        ...


class Ends(Protocol):
    """Where the log ends (LogEnds)."""

    async def of(self, partitions: list[Any]) -> Mapping[Any, int] | None: ...

    async def nothing_between(self, partition: Any, done: int, end: int) -> bool: ...


class LogEnds:
    """Asks the brokers over a connection of its own: a consumer that died says nothing of what it misses."""

    def __init__(self, settings: KafkaSettings) -> None:
        self._arguments = client_arguments(settings)
        self._client: AIOKafkaConsumer | None = None

    async def start(self) -> None:
        """Raises TransientError where no broker answers."""
        client = AIOKafkaConsumer(**self._arguments, enable_auto_commit=False)
        try:
            await client.start()
        except (KafkaError, OSError) as error:
            await client.stop()
            raise TransientError(f"brokers: {error!r}") from error
        self._client = client

    async def stop(self) -> None:
        if self._client is not None:
            await self._client.stop()

    async def nothing_between(self, partition: Any, done: int, end: int) -> bool:
        """Whether no record lies behind `done` and before `end`: what ends a transaction takes an offset too, and no
        consumer is ever given it. False where that can't be told."""
        place = TopicPartition(partition.topic, partition.partition)
        client = AIOKafkaConsumer(**self._arguments, enable_auto_commit=False, auto_offset_reset="none")
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                await client.start()
                client.assign([place])
                client.seek(place, done + 1)
                while await client.position(place) < end:
                    if await client.getmany(timeout_ms=int(1000 * LOOK_SECONDS), max_records=1):
                        return False
        except (KafkaError, TimeoutError, OSError):
            return False
        finally:
            await client.stop()
        return True

    async def of(self, partitions: list[Any]) -> Mapping[Any, int] | None:
        """One past the last offset of each; None where the brokers don't answer."""
        if self._client is None or not partitions:
            return {}
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                ends = await self._client.end_offsets([TopicPartition(tp.topic, tp.partition) for tp in partitions])
        except (KafkaError, TimeoutError, OSError):
            return None
        return {tp: ends[TopicPartition(tp.topic, tp.partition)] for tp in partitions}


async def keep_watch(consuming: Consuming, settings: KafkaSettings, service: str, stop: asyncio.Event) -> None:
    """Watch until `stop` is set. Raises Stalled; the process then has to end within the stop deadline."""
    ends = LogEnds(settings)
    try:
        await patiently(ends.start, stop)
        watching = or_else_end(watch(consuming, ends, service, settings.stall_seconds))
        await first_of(stop.wait(), watching)
    finally:
        await ends.stop()


async def watch(
    consuming: Consuming, ends: Ends, service: str, stall_seconds: float, look_seconds: float = LOOK_SECONDS
) -> NoReturn:
    """Keep the lag metric; raise Stalled once a partition with records waiting hasn't moved for `stall_seconds`.

    Time in which the brokers or another dependency are known to be away doesn't count.
    """
    last: Mapping[Any, int | None] = {}
    empty: dict[Any, tuple[int, int]] = {}
    """Of partitions that seemed to stand still: between these offsets lies no record."""
    moved: dict[Any, float] = {}
    positioned = time.monotonic()
    shown: set[tuple[str, int]] = set()
    while True:
        now_s, now = time.monotonic(), consuming.progress()
        found = await ends.of(list(now))
        lag = _lag(now, found, empty)
        if found is not None:
            shown = _show(service, lag, shown)
        if found is None or consuming.excused:
            positioned, moved = now_s, {}
        elif consuming.positioned:
            positioned = now_s
        held_up = set(consuming.held_up)
        for tp, done in now.items():
            if tp not in moved or tp in held_up or lag.get(tp) == 0 or done != last.get(tp):
                moved[tp] = now_s
        last = now
        if now_s - positioned > stall_seconds:
            raise Stalled(f"no assignment for {stall_seconds:g} s")
        for tp in now if consuming.positioned else ():
            if now_s - moved[tp] > stall_seconds:
                done = now[tp]
                if done is not None and tp in lag and found and await ends.nothing_between(tp, done, found[tp]):
                    empty[tp] = done, found[tp]
                    continue
                waiting = f"{lag[tp]} records waiting" if tp in lag else "nothing was fetched yet"
                raise Stalled(f"{tp.topic}-{tp.partition}: {waiting}, and no progress for {stall_seconds:g} s")
        await asyncio.sleep(look_seconds)


def _lag(
    progress: Mapping[Any, int | None], ends: Mapping[Any, int] | None, empty: Mapping[Any, tuple[int, int]]
) -> dict[Any, int]:
    """Of the partitions of which it is known."""
    return {
        tp: 0 if empty.get(tp) == (done, ends[tp]) else max(0, ends[tp] - done - 1)
        for tp, done in progress.items()
        if done is not None and ends
    }


def _show(service: str, lag: Mapping[Any, int], shown: set[tuple[str, int]]) -> set[tuple[str, int]]:
    """Set the metric of our partitions, and drop it for those that are others' now. Gives what is shown."""
    mine = {(tp.topic, tp.partition) for tp in lag}
    for topic, partition in shown - mine:
        CONSUMER_LAG.remove(service, topic, str(partition))
    for tp, records in lag.items():
        CONSUMER_LAG.labels(service, tp.topic, tp.partition).set(records)
    return mine
