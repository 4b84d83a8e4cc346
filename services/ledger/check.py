"""`--check`: whether everything that an audit reads answers."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import httpx
import redis.asyncio
from aiokafka.errors import KafkaError
from redis.exceptions import RedisError

from services.ledger import checks, warehouse_rows
from services.ledger.log_reader import LogReader
from services.ledger.settings import LedgerSettings
from shared import google_errors
from shared.contracts.topics import ALL
from shared.kafka.connection import client_arguments
from shared.kafka.errors import TransientError

REST_TIMEOUT_S = 5.0
NOBODYS_EVENT = "/v1/decisions/ledger-check"
"""The door's answer says whether the key may read: 404 for an event that was never decided."""

AWAY = (TransientError, KafkaError, RedisError, httpx.HTTPError, *google_errors.AWAY)


async def check(settings: LedgerSettings) -> dict[str, str]:
    """For each dependency `ok`, or what is wrong with it."""

    async def brokers() -> str:
        async with LogReader(client_arguments(settings.kafka)) as reader:
            for topic in ALL:
                await reader.ends(topic.name)
        return "ok"

    async def counts() -> str:
        client = redis.asyncio.from_url(settings.redis.address)
        try:
            await client.ping()
        finally:
            await client.aclose()
        return "ok"

    async def rest() -> str:
        key = settings.ledger.scorer_key
        headers = {} if key is None else {"Authorization": f"Bearer {key.get_secret_value()}"}
        url = settings.ledger.scorer_url
        async with httpx.AsyncClient(base_url=url, headers=headers, timeout=REST_TIMEOUT_S) as client:
            status = (await client.get(NOBODYS_EVENT)).status_code
        return "ok" if status in (httpx.codes.OK, httpx.codes.NOT_FOUND) else f"{url} answers {status}"

    probes: dict[str, Callable[[], Awaitable[str]]] = {
        "kafka": brokers,
        "redis": counts,
        "warehouse": lambda: asyncio.to_thread(_tables, settings),
    }
    if settings.ledger.scorer_url:
        probes["rest"] = rest
    return {name: await _try(probe) for name, probe in probes.items()}


def _tables(settings: LedgerSettings) -> str:
    client = warehouse_rows.open_client(settings.bigquery)
    try:
        for group in checks.TABLES.values():
            for table in group:
                client.get_table(f"{client.project}.{table}", retry=None, timeout=warehouse_rows.TIMEOUT_SECONDS)
    finally:
        client.close()
    return "ok"


async def _try(probe: Callable[[], Awaitable[str]]) -> str:
    try:
        return await probe()
    except AWAY as error:
        return f"{type(error).__name__}: {error}"
