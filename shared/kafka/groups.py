"""Who is in a consumer group, and what it has committed."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Collection

from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError, for_code

from shared.kafka.connection import SESSION_TIMEOUT_MS, admin_client
from shared.kafka.errors import TransientError
from shared.settings import KafkaSettings

POLL_S = 0.5
COORDINATOR_S = 60.0
"""For which a coordinator that is moving is waited for."""


async def running(kafka: KafkaSettings, group: str) -> int:
    """How many processes of the group run. One that has ended by now may be a member for a while, so that is waited for
    where there are any. Raises KafkaError."""
    deadline = time.monotonic() + SESSION_TIMEOUT_MS / 1000 + 2
    while True:
        try:
            count = await _members(kafka, group)
        except KafkaError as error:
            if not error.retriable or time.monotonic() > deadline:
                raise
            count = 1  # nobody knows: the coordinator is moving
        if not count or time.monotonic() > deadline:
            return count
        await asyncio.sleep(POLL_S)


async def _members(kafka: KafkaSettings, group: str) -> int:
    """Raises KafkaError, also where the answer is that there is none: it holds no members then."""
    async with admin_client(kafka) as admin:
        (answer,) = await admin.describe_consumer_groups([group])
    for described in answer.groups:
        if described[0]:
            raise for_code(described[0])(f"group {group}")
    return sum(len(described[5]) for described in answer.groups)


async def committed(
    admin: AIOKafkaAdminClient,
    group: str,
    partitions: Collection[TopicPartition] = (),
    *,
    patience_s: float = COORDINATOR_S,
) -> dict[TopicPartition, int]:
    """The offsets that the group has committed, in these partitions or in all.

    Waits for the group's coordinator: there is none before the first group comes, and it may be moving. While it does,
    the answer is an empty one, which only who names partitions can tell from nothing committed. Raises TransientError,
    KafkaError.
    """
    deadline = time.monotonic() + patience_s
    while True:
        try:
            offsets = await admin.list_consumer_group_offsets(group, partitions=list(partitions) or None)
            if offsets.keys() >= set(partitions):
                return {tp: metadata.offset for tp, metadata in offsets.items() if metadata.offset >= 0}
        except KafkaError as error:
            if not error.retriable:
                raise
        if time.monotonic() > deadline:
            raise TransientError(f"no coordinator of {group} after {patience_s:g} s")
        await asyncio.sleep(POLL_S)
