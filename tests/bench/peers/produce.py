"""aiokafka alone, as everybody calls it: each record handed over by itself, idempotent and acknowledged.

`python -m tests.bench.peers.produce BROKERS SOURCE TARGET COUNT DIFFERENT` reads so many different records, sends COUNT
of them to another topic, over and over, and prints how many that were a second.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Sequence

import uvloop
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

from shared.kafka import compression

AT_ONCE = 2_000
"""Whose acknowledgements are awaited together."""


Sent = tuple[bytes | None, bytes | None, list[tuple[str, bytes]]]
"""Value, key and headers, as the producer wants them."""


async def read(brokers: str, source: str, count: int) -> list[Sent]:
    consumer = AIOKafkaConsumer(source, bootstrap_servers=brokers, auto_offset_reset="earliest")
    await consumer.start()
    records: list[Sent] = []
    while len(records) < count:
        fetched = await consumer.getmany(timeout_ms=500)
        records += [(each.value, each.key, list(each.headers)) for of_one in fetched.values() for each in of_one]
    await consumer.stop()
    return records[:count]


async def run(brokers: str, source: str, target: str, count: str, different: str) -> None:
    records = await read(brokers, source, int(different))
    compression.install()  # ours pack so, and what is measured is what they do beside it
    producer = AIOKafkaProducer(
        bootstrap_servers=brokers,
        enable_idempotence=True,
        acks="all",
        compression_type="lz4",
        max_batch_size=262_144,
    )
    await producer.start()
    await send(producer, target, records[:AT_ONCE])  # knows the topic and has its connections now
    began, sent = time.perf_counter(), 0
    while sent < int(count):
        start = sent % len(records)
        sent += await send(producer, target, records[start : start + AT_ONCE])
    print(sent / (time.perf_counter() - began))
    await producer.stop()


async def send(producer: AIOKafkaProducer, target: str, records: Sequence[Sent]) -> int:
    """How many were acknowledged."""
    sent = [await producer.send(target, value, key=key, headers=headers) for value, key, headers in records]
    return len(await asyncio.gather(*sent))


if __name__ == "__main__":
    uvloop.run(run(*sys.argv[1:]))
