"""A client that knows no living broker any more asks those again that it was configured with.

aiokafka asks for metadata only the brokers that its last answer named. While two of three are away that is the third
one alone; where it goes before the next answer, which may be five minutes later, the client stays cut off from the two
that are back, until that very broker is there again. Java's clients begin anew in that case
(`metadata.recovery.strategy=rebootstrap`, KIP-899).

`install` gives every aiokafka client the same (docs/adr/0053).
"""

from __future__ import annotations

import contextlib
import copy
from typing import Any

import structlog
from aiokafka.client import AIOKafkaClient
from aiokafka.cluster import ClusterMetadata
from aiokafka.errors import KafkaError

log = structlog.get_logger()

_update = AIOKafkaClient._metadata_update


async def _update_or_begin_anew(client: AIOKafkaClient, cluster: ClusterMetadata, topics: Any) -> bool:
    """In the place of the client's own `_metadata_update`."""
    if await _update(client, cluster, topics):
        return True
    brokers = await _bootstrapped(client)
    if not brokers:
        return False
    client.cluster._brokers = brokers
    updated: bool = await _update(client, cluster, topics)
    if updated:
        log.info("brokers_found_anew", brokers=sorted(brokers))
    return updated


async def _bootstrapped(client: AIOKafkaClient) -> dict[Any, Any]:
    """Who is there, as the first configured broker tells that answers. Empty: none does.

    By a copy of the client: its own bootstrapping would forget all topics until the next answer.
    """
    copied = copy.copy(client)
    copied.cluster, copied._conns = ClusterMetadata(), {}
    copied._sync_task = client._sync_task or True  # or it would start one
    with contextlib.suppress(KafkaError, OSError):
        await copied.bootstrap()
    for connection in copied._conns.values():
        connection.close()
    found: dict[Any, Any] = copied.cluster._brokers
    return found


def install() -> None:
    AIOKafkaClient._metadata_update = _update_or_begin_anew
