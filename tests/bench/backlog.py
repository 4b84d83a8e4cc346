"""A backlog of records, and how fast processes that wait for it work it off."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Self

from services.ledger.log_reader import LogReader
from shared.kafka.connection import client_arguments
from shared.kafka.producer import OutgoingRecord, ReliableProducer
from shared.settings import KafkaSettings
from tests.bench.decided import Decided
from tests.bench.parts import Worker
from tests.e2e.system import until

AT_ONCE = 2_000
"""Records in one call of the producer."""

LOOK_S = 0.05
PATIENCE_S = 300.0
"""Without anything new on the output topic."""


@dataclass(frozen=True)
class Pace:
    per_second: float
    cpu_ms: float
    """Of all workers together, for each record."""


async def by_model(scorers: Sequence[Worker], count: int) -> None:
    """Wait until they have counted so many decisions of the model, since their start. Raises AssertionError where a
    fallback made any: that would have been less work."""

    async def counted() -> bool:  # a moment after the topic has them
        made = [Decided.at(scorer.port) for scorer in scorers]
        assert not any(each.by_fallback for each in made), made
        return sum(each.by_model for each in made) >= count

    await until(counted, f"{count} decisions of the model", PATIENCE_S)


class Backlog:
    """Sends records to workers that are stopped meanwhile, and looks at how they work them off."""

    def __init__(self, reader: LogReader, producer: ReliableProducer) -> None:
        self._reader, self._producer = reader, producer

    @classmethod
    @asynccontextmanager
    async def open(cls, kafka: KafkaSettings) -> AsyncIterator[Self]:
        reader, producer = LogReader(client_arguments(kafka)), ReliableProducer(kafka)
        await reader.start()
        await producer.start()
        try:
            yield cls(reader, producer)
        finally:
            await producer.stop()
            await reader.close()

    async def pace(self, workers: Sequence[Worker], records: Sequence[OutgoingRecord], output: str) -> Pace:
        """From when they go on, with all of it before them, to the last of what they put on `output`, one for each
        record. Not from the first: who puts out everything together in the end has worked on it all along.

        Raises AssertionError where nothing comes any more, or more than one for each.
        """
        before = await self.count(output)
        for worker in workers:
            worker.process.pause()
        try:
            await self.send(records)
        finally:
            began, cpu_s = time.perf_counter(), sum(worker.cpu_s for worker in workers)
            for worker in workers:
                worker.process.resume()
        last = await self.reached(output, before + len(records))
        took_s, cpu_s = time.perf_counter() - began, sum(worker.cpu_s for worker in workers) - cpu_s
        assert last == before + len(records), f"{last - before} records on {output} for {len(records)}"
        return Pace(len(records) / took_s, 1000 * cpu_s / len(records))

    async def send(self, records: Sequence[OutgoingRecord]) -> None:
        """All are acknowledged when it returns."""
        for start in range(0, len(records), AT_ONCE):
            await self._producer.send_all(records[start : start + AT_ONCE])

    async def count(self, topic: str) -> int:
        return sum((await self._reader.ends(topic)).values())

    async def reached(self, topic: str, wanted: int) -> int:
        """Wait until the topic has so many records; how many it then has. AssertionError where nothing comes."""
        reached, heard = await self.count(topic), time.monotonic()
        while reached < wanted:
            await asyncio.sleep(LOOK_S)
            now = await self.count(topic)
            if now > reached:
                reached, heard = now, time.monotonic()
            assert time.monotonic() - heard < PATIENCE_S, f"{topic}: {reached} records, {wanted} awaited"
        return reached
