"""Topics read as far as they went when somebody looked."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Mapping

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition

from shared.kafka.connection import SILENCE_SECONDS
from shared.kafka.errors import TransientError

POLL_MS = 500


async def batches_up_to(
    consumer: AIOKafkaConsumer, ends: Mapping[TopicPartition, int], *, max_records: int
) -> AsyncIterator[Mapping[TopicPartition, list[ConsumerRecord]]]:
    """What lies between the positions of the consumer, which has these partitions assigned, and `ends`; the last ones
    may go beyond. Raises TransientError where none comes any more."""
    heard = time.monotonic()
    while behind := [at for at, end in ends.items() if await consumer.position(at) < end]:
        batches = await consumer.getmany(*behind, timeout_ms=POLL_MS, max_records=max_records)
        if batches:
            heard = time.monotonic()
        elif time.monotonic() - heard > SILENCE_SECONDS:
            raise TransientError(f"no records of {behind[0].topic} for {SILENCE_SECONDS:.0f} s")
        yield batches
