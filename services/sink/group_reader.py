"""A consumer for partitions that are assigned by hand: it doesn't join the sink's group, it only reads its offsets."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiokafka import AIOKafkaConsumer

from services.sink.lane import SERVICE
from shared.kafka.connection import client_arguments
from shared.settings import KafkaSettings


@asynccontextmanager
async def group_reader(kafka: KafkaSettings) -> AsyncIterator[AIOKafkaConsumer]:
    """For as long as the block takes. Raises what the client raises."""
    consumer = AIOKafkaConsumer(
        **client_arguments(kafka),
        group_id=f"flit-{SERVICE}",
        enable_auto_commit=False,
        fetch_max_wait_ms=50,
        # What retention takes on the way is an error: passed over, all rows up to the log's end would seem made up.
        auto_offset_reset="none",
    )
    await consumer.start()
    try:
        yield consumer
    finally:
        await consumer.stop()
