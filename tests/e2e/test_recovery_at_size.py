"""Redis is emptied under 200,000 purchases of history, while checkouts go on asking.

Takes a quarter of an hour on two cores: `.venv/bin/python -m pytest -m slow -s tests/e2e/test_recovery_at_size.py`. The
lines that it prints are the figures of docs/operations/recovery.md.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import random
import time
from collections import Counter
from pathlib import Path

import httpx
import pytest
from redis.asyncio import Redis

from shared.claim_keys import COMPLETE
from shared.contracts.identity import partition_of
from shared.contracts.topics import DECISIONS, OUTCOMES, TRANSACTIONS
from shared.feature_state import FeatureStateStore
from shared.kafka.producer import OutgoingRecord, ReliableProducer
from tests import factories
from tests.e2e.system import Log, System, until
from tests.e2e.test_recovery import JSON, decisions_by_event

PURCHASES = int(os.environ.get("RECOVERY_PURCHASES", "200000"))
"""Fewer only to try the test itself."""

CUSTOMERS = max(200, PURCHASES // 20)
"""Twenty purchases each, on average: most states hold no tiles, some do."""

ASKING = 100
"""Customers who are at a checkout meanwhile; the states of all others must come back byte for byte."""

FOLLOWING = 2_000
"""Purchases after the rebuild: their features are those that the ledger recomputes, or the rebuild was wrong."""

START_US = 1_717_200_000_000_000
"""2024-06-01T00:00:00Z: in the past of every clock."""

APART_US = 50 * factories.SECOND_US
AT_ONCE = 2_000
PATIENCE_SECONDS = 1800.0
SERVICES = ("features", "scorer", "sink")


def moment(number: int) -> int:
    return START_US + number * APART_US


def purchase(number: int, draw: random.Random) -> OutgoingRecord:
    customer = f"cust_{min(draw.randrange(CUSTOMERS), draw.randrange(CUSTOMERS)):06d}"
    body = factories.transaction_bytes(
        number,
        t_us=moment(number),
        customer_id=customer,
        amount=draw.randrange(500, 60_000) / 100,
        device={"id": f"{customer}_device_{draw.randrange(3)}"},
        product={"category": draw.choice(["home", "beauty", "sports", "electronics"])},
        installments={"count": draw.choice([4, 6])},
    )
    return OutgoingRecord(TRANSACTIONS.name, customer.encode(), body)


def outcome(number: int, customer: bytes, draw: random.Random) -> OutgoingRecord:
    body = factories.outcome(
        number,
        customer_id=customer.decode(),
        defaulted=draw.random() < 0.1,
        observed_us=moment(number) + draw.randrange(14, 84) * factories.DAY_US,
    )
    return OutgoingRecord(OUTCOMES.name, customer, json.dumps(body).encode())


async def send_history(producer: ReliableProducer, draw: random.Random) -> None:
    """Purchases, and an outcome for every second of them."""
    for start in range(0, PURCHASES, AT_ONCE):
        numbers = range(start, min(PURCHASES, start + AT_ONCE))
        records = [purchase(number, draw) for number in numbers]
        await producer.send_all(records)
        await producer.send_all(
            [
                outcome(number, record.key or b"", draw)
                for number, record in zip(numbers, records, strict=True)
                if number % 2
            ]
        )


async def states(redis: Redis) -> dict[bytes, bytes]:
    """Digest of every customer's state, by its key; those who ask at the checkout apart."""
    found: dict[bytes, bytes] = {}
    keys = [key async for key in redis.scan_iter("{p*}:c:*", count=5000)]
    for begin in range(0, len(keys), 1000):
        some = keys[begin : begin + 1000]
        for key, state in zip(some, await redis.mget(some), strict=True):
            if isinstance(state, bytes) and int(key.rpartition(b"_")[2]) >= ASKING:
                found[key] = hashlib.sha256(state).digest()
    return found


@pytest.mark.slow
@pytest.mark.timeout(7200)
async def test_flushall_over_200_000_purchases_is_made_good_unattended_while_checkouts_go_on(tmp_path: Path) -> None:
    draw = random.Random(17)
    with System(tmp_path, SERVICES) as system:
        partitions = system.kafka.partitions
        log = Log(system.stack.kafka.bootstrap_servers)
        redis = Redis.from_url(system.stack.valkey.url)
        store = FeatureStateStore(redis)
        producer = ReliableProducer(system.kafka)
        await producer.start()

        async def whole(*numbers: int) -> bool:
            return all([(await store.standing(number)).whole for number in numbers])

        async def restored(*numbers: int) -> bool:
            return await whole(*numbers) and bool(await redis.exists(COMPLETE))

        async def until_restored(since: float) -> dict[str, float]:
            """How long states and claims took."""
            took: dict[str, float] = {}
            while len(took) < 2:
                if await whole(*range(partitions)):
                    took.setdefault("states", time.monotonic() - since)
                if await redis.exists(COMPLETE):
                    took.setdefault("claims", time.monotonic() - since)
                await asyncio.sleep(0.05)
            return took

        began = time.monotonic()
        await send_history(producer, draw)
        print(f"\nhistory sent: {time.monotonic() - began:.0f} s")

        async def all_decided() -> bool:
            return await log.count(DECISIONS.name) >= PURCHASES and await all_taken_in()

        async def all_taken_in() -> bool:
            positions = [await store.position(number) for number in range(partitions)]
            taken = sum(position.transactions + position.outcomes + 2 for position in positions)
            return taken >= await log.count(TRANSACTIONS.name) + await log.count(OUTCOMES.name)

        await until(all_decided, "all of history to be decided", PATIENCE_SECONDS)
        print(f"history decided: {time.monotonic() - began:.0f} s")
        before = await states(redis)

        await redis.flushall()
        restoring = asyncio.create_task(until_restored(time.monotonic()))
        meanwhile: Counter[str | None] = Counter()
        slowest = 0.0
        number = 0
        async with httpx.AsyncClient(timeout=30) as http, asyncio.timeout(PATIENCE_SECONDS):
            while not restoring.done():
                number += 1
                asked = time.monotonic()
                body = factories.transaction(
                    10_000_000 + number,
                    t_us=moment(PURCHASES) + number * factories.SECOND_US,
                    customer_id=f"cust_{number % ASKING:06d}",
                )
                answer = await http.post(f"{system.http}/v1/decisions", json=body, headers=JSON)
                assert answer.status_code == 200, answer.text
                home = partition_of(answer.json()["customer_id"].encode(), partitions)
                slowest = max(slowest, time.monotonic() - asked)
                if not await restored(home):
                    meanwhile[answer.json()["degraded"]] += 1
        took = await restoring
        print(
            f"states whole after {took['states']:.1f} s, claims after {took['claims']:.1f} s; answered meanwhile:"
            f" {number}, {meanwhile['rebuilding']} of them rebuilding, the slowest in {1000 * slowest:.0f} ms"
        )
        await until(all_taken_in, "what was asked meanwhile to be taken in", PATIENCE_SECONDS)
        after = await states(redis)

        await producer.send_all([purchase(PURCHASES + more, draw) for more in range(FOLLOWING)])
        await producer.stop()
        expected = PURCHASES + number + FOLLOWING

        async def decided_too() -> bool:
            return await log.count(DECISIONS.name) >= expected

        await until(decided_too, "what followed to be decided", PATIENCE_SECONDS)
        await redis.aclose()
        began = time.monotonic()
        report = system.ledger(patience=PATIENCE_SECONDS)
        print(f"ledger: {time.monotonic() - began:.0f} s")
        decided = await decisions_by_event(system)
        said = system.log_of("features").splitlines()
    for line in said:
        if '"rebuilt"' in line or "claims_restored" in line:
            print(line)
    assert report["balanced"], json.dumps(report["invariants"], indent=1)
    assert report["lag"] == {}
    assert report["invariants"]["P4"]["checked"] >= expected - number
    assert before == after
    assert number > 0
    assert set(meanwhile) == {"rebuilding"}
    assert len(decided) == expected
    assert [event for event, bodies in decided.items() if len(bodies) > 1] == []
