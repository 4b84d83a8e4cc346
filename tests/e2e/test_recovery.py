"""Redis loses everything, or its latest writes, while purchases stream through: made good again, unattended."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from pathlib import Path

import httpx
import pytest
from redis.asyncio import Redis

from services.ledger.log_reader import LogReader
from shared.claim_keys import COMPLETE
from shared.contracts.identity import partition_of
from shared.contracts.topics import DECISIONS
from shared.feature_state import FeatureStateStore
from tests.e2e.system import Log, System
from tests.unit.scorer.parts import body_of

RATE = 80
PROGRESS = 300
SERVICES = ("simulator", "features", "scorer", "sink", "ingestor")


@pytest.mark.timeout(600)
async def test_flushall_under_load_loses_and_doubles_nothing_and_answers_say_so(tmp_path: Path) -> None:
    with System(tmp_path, SERVICES, {"INGESTOR__RATE": str(RATE)}) as system:
        log = Log(system.stack.kafka.bootstrap_servers)
        redis = Redis.from_url(system.stack.valkey.url)
        store = FeatureStateStore(redis)

        async def restored(*partitions: int) -> bool:
            standings = [await store.standing(number) for number in partitions]
            return all(standing.whole for standing in standings) and bool(await redis.exists(COMPLETE))

        await log.grows(DECISIONS.name, 2 * PROGRESS)
        await redis.flushall()
        meanwhile: Counter[str | None] = Counter()
        number = 0
        async with httpx.AsyncClient(timeout=30) as http, asyncio.timeout(120):
            while not await restored(*range(system.kafka.partitions)):
                number += 1
                answer = await http.post(f"{system.http}/v1/decisions", content=body_of(number), headers=JSON)
                assert answer.status_code == 200, answer.text
                home = partition_of(answer.json()["customer_id"].encode(), system.kafka.partitions)
                if not await restored(home):
                    meanwhile[answer.json()["degraded"]] += 1
        await log.grows(DECISIONS.name, PROGRESS)
        # The second half of the trouble: a Valkey that was started again, with the end of its log cut off.
        system.stack.valkey.kill()
        cut_last_writes(system)
        system.stack.valkey.start()
        await log.grows(DECISIONS.name, PROGRESS)
        await redis.aclose()
        system.supervisor.retire("ingestor")
        report = system.ledger()
        decided = await decisions_by_event(system)
    assert report["balanced"], json.dumps(report["invariants"], indent=1)
    assert report["lag"] == {}
    assert set(meanwhile) == {"rebuilding"}
    assert len(decided) >= 4 * PROGRESS
    assert {event: bodies for event, bodies in decided.items() if len(bodies) > 1} == {}


JSON = {"Content-Type": "application/json"}
CUT_BYTES = 200_000
"""Some dozens of claims and the states that belong to them."""


def cut_last_writes(system: System) -> None:
    """What a machine that lost its power may leave of Valkey's log."""
    (last,) = [path for path in (system.data_dir / "stack").rglob("*.incr.aof") if path.stat().st_size > CUT_BYTES]
    with last.open("r+b") as file:
        file.truncate(last.stat().st_size - CUT_BYTES)


async def decisions_by_event(system: System) -> dict[str, set[bytes]]:
    found: dict[str, set[bytes]] = {}
    async with LogReader({"bootstrap_servers": system.kafka.bootstrap_servers}) as reader:
        async for record in reader.read(await reader.ends(DECISIONS.name)):
            found.setdefault(json.loads(record.value)["event_id"], set()).add(record.value)
    return found
