"""aiokafka alone: reads records and sends the same ones to another topic, idempotent and acknowledged.

`python -m tests.bench.peers.produce BROKERS SOURCE TARGET COUNT` prints how many it sent a second.
"""

from __future__ import annotations

import asyncio
import sys
import time

import uvloop
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRecord

from shared.kafka import compression

AT_ONCE = 2_000
"""Whose acknowledgements are awaited together."""


async def read(brokers: str, source: str, count: int) -> list[ConsumerRecord]:
    consumer = AIOKafkaConsumer(source, bootstrap_servers=brokers, auto_offset_reset="earliest")
    await consumer.start()
    records: list[ConsumerRecord] = []
    while len(records) < count:
        fetched = await consumer.getmany(timeout_ms=500)
        records += [record for of_partition in fetched.values() for record in of_partition]
    await consumer.stop()
    return records[:count]


async def run(brokers: str, source: str, target: str, count: str) -> None:
    records = await read(brokers, source, int(count))
    compression.install()  # ours pack so, and what is measured is what they do beside it
    producer = AIOKafkaProducer(
        bootstrap_servers=brokers,
        enable_idempotence=True,
        acks="all",
        compression_type="lz4",
        max_batch_size=262_144,
    )
    await producer.start()
    began = time.perf_counter()
    for start in range(0, len(records), AT_ONCE):
        sent = [
            await producer.send(target, record.value, key=record.key, headers=record.headers)
            for record in records[start : start + AT_ONCE]
        ]
        await asyncio.gather(*sent)
    print(len(records) / (time.perf_counter() - began))
    await producer.stop()


if __name__ == "__main__":
    uvloop.run(run(*sys.argv[1:]))
