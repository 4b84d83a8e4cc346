"""One event, two doors: the topic and REST. Whoever asks first, there is one decision, the same bytes."""

from __future__ import annotations

import asyncio
import base64
import json
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx
import pytest
from aiokafka import AIOKafkaConsumer

from shared.contracts.identity import from_epoch_micros
from shared.contracts.topics import DEAD_LETTERS, DECISIONS, FEATURES, TRANSACTIONS
from shared.kafka.producer import OutgoingRecord, ReliableProducer
from tests.e2e.system import System, until
from tests.factories import SECOND_US, transaction


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    with System(tmp_path_factory.mktemp("doors"), ("features", "scorer", "sink")) as running:
        yield running


class Doors:
    """A producer, a checkout, and a consumer of decisions and of what was refused."""

    def __init__(self, system: System) -> None:
        self.rest = httpx.AsyncClient(base_url=system.http, timeout=30)
        self.producer = ReliableProducer(system.kafka)
        self.consumer = AIOKafkaConsumer(
            DECISIONS.name,
            DEAD_LETTERS.name,
            bootstrap_servers=system.kafka.bootstrap_servers,
            auto_offset_reset="earliest",
            enable_auto_commit=False,
        )
        self.decided: dict[str, list[bytes]] = {}
        self.letters: list[dict[str, Any]] = []

    async def publish(self, body: dict[str, Any]) -> None:
        record = OutgoingRecord(TRANSACTIONS.name, body["customer_id"].encode(), json.dumps(body).encode())
        await self.producer.send_all([record])

    async def ask(self, body: dict[str, Any]) -> bytes:
        """As a checkout does: who is told that there are too many at once asks again."""
        answer = await self.rest.post("/v1/decisions", json=body)
        if answer.status_code == 503:
            await asyncio.sleep(float(answer.headers["retry-after"]))
            return await self.ask(body)
        assert answer.status_code == 200, answer.text
        return answer.content

    async def on_topic(self, event_id: str) -> list[bytes]:
        """Every record of the event, once there is one."""

        async def there() -> bool:
            await self._read()
            return event_id in self.decided

        await until(there, f"a decision of {event_id}")
        return self.decided[event_id]

    async def refused(self, customer_id: str) -> tuple[str, str]:
        """Topic and reason of the one letter about a record with this key, once it is there."""
        key = base64.b64encode(customer_id.encode()).decode()

        async def there() -> bool:
            await self._read()
            return any(letter["key_base64"] == key for letter in self.letters)

        await until(there, f"a letter about {customer_id}")
        ((topic, reason),) = {(each["topic"], each["reason"]) for each in self.letters if each["key_base64"] == key}
        return topic, reason

    async def _read(self) -> None:
        for partition, records in (await self.consumer.getmany(timeout_ms=100)).items():
            if partition.topic == DEAD_LETTERS.name:
                self.letters += [json.loads(record.value) for record in records]
                continue
            for record in records:
                self.decided.setdefault(json.loads(record.value)["event_id"], []).append(record.value)


@pytest.fixture
async def doors(system: System) -> AsyncIterator[Doors]:
    doors = Doors(system)
    await doors.producer.start()
    await doors.consumer.start()
    yield doors
    await doors.consumer.stop()
    await doors.producer.stop()
    await doors.rest.aclose()


_numbers = iter(range(10_000))


def fresh() -> dict[str, Any]:
    """An event that happens now."""
    number = next(_numbers)
    now_us = int(time.time() * SECOND_US)
    return transaction(number, t_us=now_us, event_id=f"doors-{now_us}-{number}", customer_id=f"cust_{number % 7}")


async def test_rest_first_then_the_topic(doors: Doors) -> None:
    body = fresh()
    answered = await doors.ask(body)
    await doors.publish(body)
    await doors.publish(fresh_after := fresh())
    await doors.on_topic(fresh_after["event_id"])
    assert set(await doors.on_topic(body["event_id"])) == {answered}


async def test_the_topic_first_then_rest(doors: Doors) -> None:
    body = fresh()
    await doors.publish(body)
    (decided,) = set(await doors.on_topic(body["event_id"]))
    assert await doors.ask(body) == decided


async def test_both_doors_at_once(doors: Doors) -> None:
    bodies = [fresh() for _ in range(60)]
    answers = await asyncio.gather(*(doors.ask(body) for body in bodies), *(doors.publish(body) for body in bodies))
    for body, answered in zip(bodies, answers[: len(bodies)], strict=True):
        assert set(await doors.on_topic(body["event_id"])) == {answered}


async def test_the_decision_can_be_fetched_by_its_event_with_the_same_bytes(doors: Doors) -> None:
    body = fresh()
    answered = await doors.ask(body)
    assert (await doors.rest.get(f"/v1/decisions/{body['event_id']}")).content == answered


async def test_another_body_under_the_same_event_is_refused(doors: Doors) -> None:
    body = fresh()
    await doors.ask(body)
    answer = await doors.rest.post("/v1/decisions", json={**body, "amount": 1.0})
    assert (answer.status_code, answer.json()["reason"]) == (422, "conflict")


async def test_another_customers_purchase_under_a_taken_id_gets_a_letter_in_place_of_a_decision(doors: Doors) -> None:
    body = fresh()
    answered = await doors.ask(body)
    others = {**fresh(), "event_id": body["event_id"], "customer_id": f"someone-else-{body['event_id']}"}
    await doors.publish(others)
    assert await doors.refused(others["customer_id"]) == (FEATURES.name, "conflict")
    assert set(await doors.on_topic(body["event_id"])) == {answered}


async def test_the_ledger_balances_over_everything_that_was_asked(doors: Doors, system: System) -> None:
    late = fresh()
    late["occurred_at"] = from_epoch_micros(int(time.time() * SECOND_US) - 3600 * SECOND_US)
    await doors.ask(late)
    report = await asyncio.to_thread(system.ledger)
    assert report["balanced"], json.dumps(report["invariants"], indent=1)
    assert report["rest_answers_compared"] > 0
