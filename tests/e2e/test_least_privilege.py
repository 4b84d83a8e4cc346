"""Nothing is missing from the rights that are declared: the system does all of its work with them, and is refused
nothing. What is too much in them, the tables of tests/integration/{kafka,redis}/test_principals.py say."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import httpx
import pytest
from aiokafka import AIOKafkaConsumer
from aiokafka.admin import AIOKafkaAdminClient

from services.ledger.log_reader import LogReader
from shared.contracts.topics import DEAD_LETTERS, DECISIONS, TRANSACTIONS
from shared.kafka.connection import client_arguments
from shared.kafka.producer import OutgoingRecord, ReliableProducer
from tests.e2e.secured import SecuredSystem
from tests.e2e.system import until
from tests.unit.scorer.parts import body_of

SERVICES = ("simulator", "features", "scorer", "sink", "ingestor")
RATE, EVENTS = 40, 150
DAY = "2026-06-01"
"""Of a history that is read at the end."""
JSON = {"Content-Type": "application/json"}


async def count(system: SecuredSystem, topic: str) -> int:
    async with LogReader(client_arguments(system.kafka)) as reader:
        return sum((await reader.ends(topic)).values())


async def grows(system: SecuredSystem, topic: str, by: int) -> None:
    target = await count(system, topic) + by

    async def grown() -> bool:
        return await count(system, topic) >= target

    await until(grown, f"{by} more records on {topic}")


async def publish_from_outside(system: SecuredSystem) -> None:
    """A purchase in a partition that isn't its key's, and one that nobody can read."""
    shop = ReliableProducer(system.stack.sasl("shop"))
    await shop.start()
    try:
        body = body_of(7_000)
        key = json.loads(body)["customer_id"].encode()
        misplaced = [OutgoingRecord(TRANSACTIONS.name, key, body, partition=number) for number in range(4)]
        await shop.send_all([*misplaced, OutgoingRecord(TRANSACTIONS.name, b"anna", b"{")])
    finally:
        await shop.stop()


async def read_downstream(system: SecuredSystem) -> int:
    reporting = AIOKafkaConsumer(
        DECISIONS.name,
        **client_arguments(system.stack.sasl("reporting")),
        group_id="reporting.daily",
        auto_offset_reset="earliest",
        enable_auto_commit=False,
    )
    await reporting.start()
    try:
        records = await reporting.getmany(timeout_ms=30_000)
        await reporting.commit()
    finally:
        await reporting.stop()
    return sum(len(each) for each in records.values())


async def ask_for_what_is_not_allowed(system: SecuredSystem) -> None:
    admin = AIOKafkaAdminClient(**client_arguments(system.stack.sasl("reporting")))
    await admin.start()
    try:
        await admin.describe_topics([TRANSACTIONS.name])
    finally:
        await admin.close()


@pytest.mark.slow
@pytest.mark.timeout(600)
async def test_the_system_does_all_of_its_work_with_the_rights_that_are_declared(tmp_path: Path) -> None:
    with SecuredSystem(tmp_path, SERVICES, {"INGESTOR__RATE": str(RATE)}) as system:
        administrator = system.stack.administrator()
        await grows(system, DECISIONS.name, EVENTS)
        await publish_from_outside(system)
        headers = {**JSON, "Authorization": f"Bearer {system.key}", "Idempotency-Key": "order-1"}
        async with httpx.AsyncClient(timeout=30) as http:
            answer = await http.post(f"{system.http}/v1/decisions", content=body_of(1), headers=headers)
        assert answer.status_code == 200, answer.text
        assert await read_downstream(system) > 0
        # Redis loses everything: states are rebuilt and claims restored from the log.
        await administrator.acl_log_reset()
        await administrator.flushall()
        await grows(system, DECISIONS.name, EVENTS)

        async def refused() -> bool:
            return await count(system, DEAD_LETTERS.name) > 0

        await until(refused, "a dead letter")
        system.supervisor.retire("ingestor")
        report = await asyncio.to_thread(system.ledger)
        assert report["rest_answers_compared"] > 0
        customer = json.loads(body_of(1))["customer_id"]
        by_hand = [
            await asyncio.to_thread(system.by_hand, principal, *command.split(), said=f"{customer}\n")
            for principal, command in (
                ("operators", "services.sink reconcile"),
                ("operators", "services.ingestor replay-dead-letters"),
                ("operators", "services.sink erase"),
                # Beside what the topics hold already.
                ("ingestor", f"services.ingestor backfill --start {DAY} --end {DAY} --daily 20 --seed 3"),
            )
        ]
        refusals = [(entry["username"], entry["object"]) for entry in await administrator.acl_log()]
        denials = system.denials()
        await ask_for_what_is_not_allowed(system)
        assert system.denials() != denials, "the brokers' log doesn't tell what they refuse"
        await administrator.aclose()
    assert report["balanced"], json.dumps(report["invariants"], indent=1)
    assert [done.returncode for done in by_hand] == [0, 0, 0, 0], [done.stdout + done.stderr for done in by_hand]
    assert denials == []
    assert refusals == []
