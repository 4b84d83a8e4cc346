"""A customer is erased while the system runs, and comes back: he is unknown then, and the ledger still balances."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Iterator

import httpx
import pytest
import redis

from shared.claim_keys import key_of
from shared.contracts.topics import DECISIONS, TRANSACTIONS
from shared.kafka.producer import OutgoingRecord, ReliableProducer
from tests.e2e.system import Log, System, until
from tests.factories import SECOND_US, transaction

GOES, STAYS = "cust_goes", "cust_stays"


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    with System(tmp_path_factory.mktemp("erasure"), ("features", "scorer", "sink")) as running:
        yield running


async def buy(system: System, numbers: range, customer: str) -> None:
    """Over the topic, and wait for the decisions."""
    log = Log(system.kafka.bootstrap_servers)
    before = await log.count(DECISIONS.name)
    producer = ReliableProducer(system.kafka)
    await producer.start()
    try:
        now_us = int(time.time() * SECOND_US) - 60 * SECOND_US
        bodies = [transaction(n, t_us=now_us + n, event_id=f"{customer}-{n}", customer_id=customer) for n in numbers]
        records = [OutgoingRecord(TRANSACTIONS.name, customer.encode(), json.dumps(body).encode()) for body in bodies]
        await producer.send_all(records)
    finally:
        await producer.stop()

    async def decided() -> bool:
        return await log.count(DECISIONS.name) >= before + len(numbers)

    await until(decided, f"{len(numbers)} decisions")


def features_of(system: System, event_id: str) -> dict[str, float | None]:
    answer = httpx.get(f"{system.http}/v1/decisions/{event_id}", timeout=30)
    assert answer.status_code == 200, answer.text
    found: dict[str, float | None] = answer.json()["features"]
    return found


async def test_an_erased_customer_who_comes_back_is_unknown_and_the_ledger_balances(system: System) -> None:
    for customer in (GOES, STAYS):
        await buy(system, range(3), customer)
    assert features_of(system, f"{GOES}-2")["purchases_30d"] == 2
    done = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-m", "services.sink", "erase"],
        input=f"{GOES}\n",
        env=system.environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 state(s), 3 claim(s) and 1 account(s) deleted" in done.stdout
    with redis.Redis.from_url(system.stack.valkey.url) as client:
        assert not client.exists(*(key_of(f"{GOES}-{n}") for n in range(3)))
        assert client.exists(key_of(f"{STAYS}-0"))
    for customer in (GOES, STAYS):
        await buy(system, range(3, 4), customer)
    assert features_of(system, f"{GOES}-3")["purchases_30d"] == 0
    assert features_of(system, f"{STAYS}-3")["purchases_30d"] == 3
    report = await asyncio.to_thread(system.ledger)
    assert report["balanced"], json.dumps(report["invariants"], indent=1)
