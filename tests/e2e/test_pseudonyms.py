"""A whole system with pseudonyms: customers' own ids stay on the topics that they came on, and go nowhere else."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
import redis
from aiokafka import AIOKafkaConsumer

from shared.contracts.identity import partition_of
from shared.contracts.pseudonyms import Kind, Pseudonyms
from shared.contracts.topics import DECISIONS, FEATURES, OUTCOMES, TRANSACTIONS
from shared.kafka.producer import OutgoingRecord, ReliableProducer
from shared.settings import BigQuerySettings
from shared.warehouse import tables
from shared.warehouse.clients import bigquery_client
from shared.warehouse.columns import Table
from tests.e2e.system import System, until
from tests.factories import SECOND_US, outcome, transaction

KEY = "an-integration-test-key-of-40-characters"
NAMES = Pseudonyms(KEY.encode())
MARK = "canary"
PEOPLE = [f"{MARK}_{number}-0a1b2c3d" for number in range(5)]
SERVICES = ("features", "scorer", "sink")

pytestmark = pytest.mark.slow


@dataclass
class Planted:
    system: System
    answers: dict[str, bytes] = field(default_factory=dict)
    """Event id → what REST said."""
    customers: dict[str, str] = field(default_factory=dict)
    """Event id → the customer's own id."""
    decided: dict[str, list[tuple[int, bytes | None, bytes]]] = field(default_factory=dict)
    """Event id → partition, key and value of each of its decisions."""


def purchase(number: int, person: str) -> dict[str, Any]:
    stem = person.split("-")[0]
    body = transaction(number, t_us=int(time.time() * SECOND_US) - 10 * SECOND_US + number, event_id=f"event-{number}")
    body |= {"customer_id": person, "transaction_id": f"{stem}_txn_{number}", "crm": {"ref": person}}
    body["device"] |= {"id": f"{stem}_device_1"}
    body["payment"] |= {"method_id": f"{stem}_pm_1"}
    return body


async def plant(system: System) -> Planted:
    """Of each person a purchase over the topic, an outcome, one over REST, then both again at the other door."""
    planted = Planted(system)
    producer = ReliableProducer(system.kafka)
    consumer = AIOKafkaConsumer(
        DECISIONS.name, bootstrap_servers=system.kafka.bootstrap_servers, auto_offset_reset="earliest"
    )
    await producer.start()
    await consumer.start()

    async def read() -> None:
        for records in (await consumer.getmany(timeout_ms=200)).values():
            for record in records:
                event = json.loads(record.value)["event_id"]
                planted.decided.setdefault(event, []).append((record.partition, record.key, record.value))

    async def send(topic: str, key: str, value: bytes) -> None:
        await producer.send_all([OutgoingRecord(topic, key.encode(), value)])

    try:
        async with httpx.AsyncClient(base_url=system.http, timeout=60) as rest:

            async def ask(body: dict[str, Any]) -> None:
                answer = await rest.post("/v1/decisions", json=body)
                assert answer.status_code == 200, answer.text
                planted.answers[body["event_id"]] = answer.content

            streamed = [purchase(number, person) for number, person in enumerate(PEOPLE)]
            asked = [purchase(number, person) for number, person in enumerate(PEOPLE, 100)]
            for body in streamed:
                await send(TRANSACTIONS.name, body["customer_id"], json.dumps(body).encode())
                known = outcome(0, observed_us=int(time.time() * SECOND_US), customer_id=body["customer_id"])
                known |= {"event_id": body["event_id"]}
                await send(OUTCOMES.name, body["customer_id"], json.dumps(known).encode())
                await send(TRANSACTIONS.name, body["customer_id"], f'{{"customer_id": "{body["customer_id"]}'.encode())

            async def decided() -> bool:
                await read()
                return all(body["event_id"] in planted.decided for body in [*streamed, *checked])

            checked: list[dict[str, Any]] = []
            await until(decided, "the stream's decisions")
            for body in asked:
                await ask(body)
                await send(TRANSACTIONS.name, body["customer_id"], json.dumps(body).encode())
            for body in streamed:
                await ask(body)
            checked = asked
            await until(decided, "the decisions asked for")
            planted.customers = {body["event_id"]: body["customer_id"] for body in [*streamed, *asked]}
    finally:
        await consumer.stop()
        await producer.stop()
    return planted


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Planted]:
    settings = {"PRIVACY__PSEUDONYM_KEY": KEY, "LOG__LEVEL": "DEBUG"}
    with System(tmp_path_factory.mktemp("pseudonyms"), SERVICES, settings) as system:
        done = asyncio.run(plant(system))
        report = system.ledger()  # waits until the sink is through
        assert report["balanced"], json.dumps(report["invariants"], indent=1)
        assert report["rest_answers_compared"] > 0
        yield done


def test_both_doors_know_the_same_person_and_give_the_same_bytes(planted: Planted) -> None:
    for event, answered in planted.answers.items():
        assert {value for _, _, value in planted.decided[event]} == {answered}
        decision = json.loads(answered)
        assert decision["customer_id"] == NAMES.of(Kind.CUSTOMER, planted.customers[event])
        if int(event.removeprefix("event-")) >= 100:
            assert decision["features"]["purchases_30d"] == 1, "the purchase over the topic is in his state"


def test_a_decision_lies_in_the_partition_of_its_purchase(planted: Planted) -> None:
    for event, records in planted.decided.items():
        customer = planted.customers[event]
        for partition, key, _ in records:
            assert partition == partition_of(customer.encode(), planted.system.kafka.partitions)
            assert key == NAMES.of(Kind.CUSTOMER, customer).encode()


def test_redis_holds_no_id_in_any_key_or_value(planted: Planted) -> None:
    with redis.Redis.from_url(planted.system.stack.valkey.url) as client:
        held = [key + (client.dump(key) or b"") for key in client.scan_iter(count=1000)]
        client.config_set("rdbcompression", "no")
        client.save()
        folder = client.config_get("dir")["dir"]
        image = client.config_get("dbfilename")["dbfilename"]
    assert len(held) > 2 * len(PEOPLE)
    assert not [each for each in held if MARK.encode() in each]
    written = (Path(folder) / image).read_bytes()
    assert NAMES.of(Kind.CUSTOMER, PEOPLE[0]).encode() in written
    assert MARK.encode() not in written


@pytest.mark.parametrize("table", tables.STREAMED, ids=lambda table: table.id)
def test_the_warehouse_holds_no_id_in_any_column(planted: Planted, table: Table) -> None:
    bigquery = planted.system.stack.bigquery
    client = bigquery_client(
        BigQuerySettings(rest_endpoint=bigquery.rest_endpoint, grpc_endpoint=bigquery.grpc_endpoint)
    )
    rows = [dict(row.items()) for row in client.list_rows(client.get_table(f"{client.project}.{table.id}"))]
    if table is not tables.DECISION_UPDATES:
        assert len(rows) >= len(PEOPLE)
    assert MARK not in repr(rows)
    if table is tables.DEAD_LETTERS:
        assert {row["value_base64"] for row in rows} == {None}


@pytest.mark.parametrize("name", SERVICES)
def test_no_log_shows_an_id(planted: Planted, name: str) -> None:
    assert [line for line in planted.system.log_of(name).splitlines() if MARK in line] == []


async def test_the_vectors_and_decisions_hold_none_either(planted: Planted) -> None:
    consumer = AIOKafkaConsumer(
        FEATURES.name,
        DECISIONS.name,
        bootstrap_servers=planted.system.kafka.bootstrap_servers,
        auto_offset_reset="earliest",
    )
    await consumer.start()
    try:
        seen: list[bytes] = []

        async def enough() -> bool:
            for records in (await consumer.getmany(timeout_ms=200)).values():
                seen.extend((record.key or b"") + (record.value or b"") for record in records)
            return len(seen) >= 4 * len(PEOPLE)

        await until(enough, "vectors and decisions of all purchases")
    finally:
        await consumer.stop()
    assert not [each for each in seen if MARK.encode() in each]
