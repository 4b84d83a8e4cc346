"""Ends a process that stands still while there is work: Faust's consumer can die without a word."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from typing import Any, NoReturn, Protocol

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from shared.kafka.connection import client_arguments
from shared.kafka.errors import TransientError
from shared.settings import KafkaSettings
from shared.telemetry.metrics import CONSUMER_LAG

LOOK_SECONDS = 1.0
ANSWER_SECONDS = 5.0
"""For the brokers to tell where the log ends."""


class Stalled(Exception):
    """No progress while there is lag. A restart mends what a silent consumer can't."""


class Consuming(Protocol):
    """What is watched (services.features.app.FeaturesApp)."""

    @property
    def positioned(self) -> bool: ...

    @property
    def excused(self) -> bool: ...

    def progress(self) -> Mapping[Any, int]: ...


class Ends(Protocol):
    """Where the log ends (LogEnds)."""

    async def of(self, partitions: list[Any]) -> Mapping[Any, int] | None: ...


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


async def watch(
    app: Consuming, ends: Ends, service: str, stall_seconds: float, look_seconds: float = LOOK_SECONDS
) -> NoReturn:
    """Keep the lag metric; raise Stalled once nothing was taken in for `stall_seconds` while records were waiting.

    Time in which a dependency is known to be away doesn't count.
    """
    last, since = app.progress(), time.monotonic()
    shown: set[tuple[str, int]] = set()
    while True:
        await asyncio.sleep(look_seconds)
        now = app.progress()
        found = await ends.of(list(now))
        lag = {tp: max(0, found[tp] - done - 1) for tp, done in now.items()} if found is not None else {}
        if found is not None:
            shown = _show(service, lag, shown)
        working = now != last or not any(lag.values())
        if found is None or app.excused or (working and app.positioned):
            last, since = now, time.monotonic()
        elif time.monotonic() - since > stall_seconds:
            what = f"{sum(lag.values())} records waiting" if app.positioned else "no assignment"
            raise Stalled(f"{what}, and no progress for {stall_seconds:g} s")


def _show(service: str, lag: Mapping[Any, int], shown: set[tuple[str, int]]) -> set[tuple[str, int]]:
    """Set the metric of our partitions, and drop it for those that are others' now. Gives what is shown."""
    mine = {(tp.topic, tp.partition) for tp in lag}
    for topic, partition in shown - mine:
        CONSUMER_LAG.remove(service, topic, str(partition))
    for tp, records in lag.items():
        CONSUMER_LAG.labels(service, tp.topic, tp.partition).set(records)
    return mine
