"""The limit of the features hop: aiokafka alone. Consume, decode with our decoder, produce what was decoded, nothing
else: no state, no features.

`python -m tests.bench.peers.loop BROKERS INPUT OUTPUT`, until SIGTERM.
"""

from __future__ import annotations

import asyncio
import signal
import sys
from typing import Any

import uvloop
from aiokafka import AIOKafkaConsumer, TopicPartition

from services.features.pipeline import LogRecord, decode
from services.features.settings import FeaturesSection
from shared.contracts.events import encode
from shared.contracts.topics import DEFAULT_PARTITIONS
from shared.contracts.transactions import AcceptedTransaction, Limits
from shared.kafka.connection import consumer_arguments
from shared.kafka.producer import OutgoingRecord, ReliableProducer
from shared.settings import KafkaSettings

LIMITS = Limits()
AT_ONCE = FeaturesSection().max_batch * DEFAULT_PARTITIONS


def decoded(record: Any, target: str) -> OutgoingRecord:
    read = LogRecord(
        record.topic, record.partition, record.offset, record.timestamp, record.key, record.value, list(record.headers)
    )
    accepted = decode(read, partitions=DEFAULT_PARTITIONS, limits=LIMITS)
    assert isinstance(accepted, AcceptedTransaction), accepted
    return OutgoingRecord(target, record.key, encode(accepted.transaction), [], record.partition)


async def _send(
    producer: ReliableProducer, consumer: AIOKafkaConsumer, made: list[OutgoingRecord], read: dict[TopicPartition, int]
) -> None:
    await producer.send_all(made)
    await consumer.commit(read)


async def run(brokers: str, source: str, target: str) -> None:
    """What our own consumer and producer are set to: idempotent, acks=all, each batch awaited."""
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    settings = KafkaSettings(bootstrap_servers=brokers)
    consumer = AIOKafkaConsumer(source, **consumer_arguments(settings, f"bench-{target}"))
    producer = ReliableProducer(settings)
    await consumer.start()
    await producer.start()
    before: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    before.set_result(None)
    while not stop.is_set():
        fetched = await consumer.getmany(timeout_ms=100, max_records=AT_ONCE)
        records = [record for of_partition in fetched.values() for record in of_partition]
        if records:
            made = [decoded(record, target) for record in records]
            await before  # one batch on its way while the next one is decoded
            read = {partition: of_partition[-1].offset + 1 for partition, of_partition in fetched.items()}
            before = asyncio.ensure_future(_send(producer, consumer, made, read))
    await before
    await producer.stop()
    await consumer.stop()


if __name__ == "__main__":
    uvloop.run(run(*sys.argv[1:]))
