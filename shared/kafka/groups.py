"""Who is in a consumer group."""

from __future__ import annotations

import asyncio
import time

from shared.kafka.connection import SESSION_TIMEOUT_MS, admin_client
from shared.settings import KafkaSettings

POLL_S = 0.5


async def running(kafka: KafkaSettings, group: str) -> int:
    """How many processes of the group run. One that has ended by now may be a member for a while, so that is waited for
    where there are any. Raises KafkaError."""
    deadline = time.monotonic() + SESSION_TIMEOUT_MS / 1000 + 2
    while (count := await _members(kafka, group)) and time.monotonic() < deadline:  # noqa: ASYNC110 (nobody tells)
        await asyncio.sleep(POLL_S)
    return count


async def _members(kafka: KafkaSettings, group: str) -> int:
    async with admin_client(kafka) as admin:
        (answer,) = await admin.describe_consumer_groups([group])
    return sum(len(described[5]) for described in answer.groups)
