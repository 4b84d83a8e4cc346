"""Who is in a consumer group."""

from __future__ import annotations

from aiokafka.admin import AIOKafkaAdminClient

from shared.kafka.connection import client_arguments
from shared.settings import KafkaSettings


async def members(kafka: KafkaSettings, group: str) -> int:
    """How many processes are in the group now; one that was killed is for a while. Raises KafkaError."""
    admin = AIOKafkaAdminClient(**client_arguments(kafka))
    try:
        await admin.start()
        (answer,) = await admin.describe_consumer_groups([group])
    finally:
        await admin.close()
    return sum(len(described[5]) for described in answer.groups)
