"""Reads a topic as it stands now, from its beginning to its end."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.errors import KafkaError

from shared.kafka.connection import SILENCE_SECONDS, client_arguments
from shared.kafka.errors import TransientError
from shared.settings import KafkaSettings

BATCH_RECORDS = 500
FETCH_MS = 1000


class BeginningGone(Exception):
    """Retention has taken the first records of the topic: what it held of them can't be told."""


async def read_topic(
    settings: KafkaSettings, topic: str, *, whole: bool = False, at_most: int = BATCH_RECORDS
) -> AsyncIterator[list[ConsumerRecord]]:
    """Its records in batches, each partition in order. Raises TransientError.

    `whole`: it has to hold all that it ever did, else BeginningGone.
    """
    # Not by a seek: the client sets out for the position that it resets to by itself, and may come back with it last.
    consumer = AIOKafkaConsumer(**client_arguments(settings), enable_auto_commit=False, auto_offset_reset="earliest")
    try:
        await consumer.start()
        partitions = [TopicPartition(topic, number) for number in range(settings.partitions)]
        consumer.assign(partitions)
        if whole and any((await consumer.beginning_offsets(partitions)).values()):
            raise BeginningGone(f"{topic} no longer holds its first records")
        ends = await consumer.end_offsets(partitions)
        open_ones = {partition for partition in partitions if await consumer.position(partition) < ends[partition]}
        heard = time.monotonic()
        while open_ones:
            batch = await consumer.getmany(*open_ones, timeout_ms=FETCH_MS, max_records=at_most)
            records = [record for partition, got in batch.items() for record in got if record.offset < ends[partition]]
            if records:
                yield records
            if batch:
                heard = time.monotonic()
            elif time.monotonic() - heard > SILENCE_SECONDS:  # the client itself waits for a leader for ever
                raise TransientError(f"no records of {topic} any more, before its end")
            open_ones = {p for p in open_ones if await consumer.position(p) < ends[p]}
    except (KafkaError, OSError) as error:
        raise TransientError(f"brokers at {settings.bootstrap_servers}: {error!r}") from error
    finally:
        await consumer.stop()
