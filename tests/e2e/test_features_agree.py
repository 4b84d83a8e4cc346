"""The same features three ways: as the stream emitted them, by the history runner, and by a naive recomputation."""

from __future__ import annotations

import json
import random
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

import pytest
from aiokafka import ConsumerRecord

from services.ledger.book import Book
from services.ledger.log_reader import LogReader
from shared.contracts.identity import partition_of
from shared.contracts.records import decode_outcome
from shared.contracts.topics import DEAD_LETTERS, FEATURES, OUTCOMES, TRANSACTIONS
from shared.contracts.transactions import Door, Limits, decode_transaction
from shared.feature_definitions.replay import LoggedOutcome, LoggedPurchase, replay
from shared.kafka.producer import OutgoingRecord, ReliableProducer
from tests.e2e.system import System, until
from tests.factories import DAY_US, SECOND_US, START_US, outcome, transaction

EVENTS = 2500
CUSTOMERS = 25
"""Few, so that some have more purchases than are kept one by one."""

SHARE_DUPLICATED, SHARE_LATE, SHARE_POISON = 0.05, 0.15, 0.01


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    with System(tmp_path_factory.mktemp("agree"), ("features",), {"FEATURES__MAX_BATCH": "97"}) as running:
        yield running


def troubled_log(dice: random.Random) -> list[OutgoingRecord]:
    """Purchases and outcomes in an order that no source should send them in."""
    records: list[OutgoingRecord] = []
    now = START_US
    for number in range(EVENTS):
        now += dice.randrange(3600 * SECOND_US)
        late = dice.random() < SHARE_LATE
        t_us = now - dice.randrange(dice.choice([SECOND_US, DAY_US, 40 * DAY_US])) if late else now
        customer = f"cust_{dice.randrange(CUSTOMERS)}"
        body = transaction(
            number,
            t_us=t_us,
            customer_id=customer,
            amount=dice.randrange(50_000) / 100,
            currency=dice.choice(["USD", "USD", "EUR"]),
            installments={"count": dice.choice([4, 6])},
            device={"id": f"device-{dice.randrange(40)}"},
            product={"category": dice.choice(["home", "beauty", "toys"])},
        )
        records.append(_record(TRANSACTIONS.name, customer, body))
        if dice.random() < SHARE_POISON:
            records.append(_record(TRANSACTIONS.name, customer, {**body, "event_id": f"bad-{number}", "amount": "1"}))
        verdict = outcome(
            number, customer_id=customer, defaulted=dice.random() < 0.2, observed_us=t_us + dice.randrange(60) * DAY_US
        )
        records.append(_record(OUTCOMES.name, customer, verdict))
        if dice.random() < SHARE_DUPLICATED:
            records.append(dice.choice(records[-20:]))
        if dice.random() < SHARE_DUPLICATED:
            records.append(_record(OUTCOMES.name, customer, {**verdict, "defaulted": not verdict["defaulted"]}))
    return records


def _record(topic: str, customer: str, body: dict[str, Any]) -> OutgoingRecord:
    return OutgoingRecord(topic, customer.encode(), json.dumps(body).encode())


async def test_stream_history_and_recomputation_agree_on_every_event(system: System) -> None:
    producer = ReliableProducer(system.kafka)
    await producer.start()
    records = troubled_log(random.Random(7))
    for start in range(0, len(records), 500):
        await producer.send_all(records[start : start + 500])
    await producer.stop()
    async with LogReader({"bootstrap_servers": system.kafka.bootstrap_servers}) as reader:
        await until(lambda: _taken_in(reader), "every record to be in the states")
        logs = {
            topic.name: [record async for record in reader.read(await reader.ends(topic.name))]
            for topic in (DEAD_LETTERS, TRANSACTIONS, OUTCOMES, FEATURES)
        }
    book = Book(system.kafka.partitions)
    for of_topic in logs.values():
        for record in of_topic:
            book.add(record)
    assert book.unread == []
    assert book.vectors_checked == EVENTS == len(book.purchases)
    assert book.mismatches == []
    assert len(book.letters) > 0
    vectors = {body["event_id"]: body for body in (json.loads(record.value) for record in logs[FEATURES.name])}
    replayed = _by_the_history_runner(logs, vectors)
    assert replayed == {event_id: body["features"] for event_id, body in vectors.items()}


async def _taken_in(reader: LogReader) -> bool:
    committed = await reader.committed("flit-features")
    ends = {**await reader.ends(TRANSACTIONS.name), **await reader.ends(OUTCOMES.name)}
    return all(committed.get(partition, 0) >= end for partition, end in ends.items())


def _by_the_history_runner(
    logs: dict[str, list[ConsumerRecord]], vectors: dict[str, dict[str, Any]]
) -> dict[str, dict[str, float | None]]:
    purchases: dict[int, list[LoggedPurchase]] = defaultdict(list)
    outcomes: dict[int, list[LoggedOutcome]] = defaultdict(list)
    refused = {
        (body["partition"], body["offset"]) for body in (json.loads(record.value) for record in logs[DEAD_LETTERS.name])
    }
    for record in logs[TRANSACTIONS.name]:
        if (record.partition, record.offset) not in refused:
            assert partition_of(record.key, 4) == record.partition
            received_us = record.timestamp * 1000
            accepted = decode_transaction(record.value, door=Door.TOPIC, received_us=received_us, limits=Limits())
            seen = vectors[accepted.transaction.event_id]["as_of"]["outcomes"]
            purchases[record.partition].append(LoggedPurchase(record.offset, accepted, seen))
    for record in logs[OUTCOMES.name]:
        known = decode_outcome(record.value)
        outcomes[record.partition].append(LoggedOutcome(record.offset, known.outcome, known.observed_us))
    return {
        purchase.accepted.transaction.event_id: features
        for partition in purchases
        for purchase, features in replay(purchases[partition], outcomes[partition])
        if features is not None
    }
