from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator

import httpx
import pytest

from services.scorer.batch import MOST, Batch
from services.scorer.checkout import Question
from services.scorer.idempotency import KeyGuard
from services.scorer.metrics import CHECKOUTS
from services.scorer.rate import Rate
from shared.contracts.topics import DECISIONS
from tests.unit.scorer.fakes import FakeKeys, FakeSender, Outside
from tests.unit.scorer.parts import accepted, body_of
from tests.unit.scorer.rest import BATCH_LIMIT, JSON, URL, assert_problem, client_of

BATCH_URL = f"{URL}/batch"


def array(*bodies: bytes) -> bytes:
    return b"[" + b",".join(bodies) + b"]"


@pytest.fixture
async def client(outside: Outside) -> AsyncIterator[httpx.AsyncClient]:
    checkout = outside.checkout()
    async with client_of(checkout, batches=Batch(checkout, KeyGuard(outside.keys))) as found:
        yield found


async def test_each_purchase_gets_the_answer_that_it_would_get_alone_in_order(client: httpx.AsyncClient) -> None:
    bodies = [body_of(1), body_of(2, amount=-1), b"17", b'"\xff"', body_of(3), body_of(1), body_of(1, amount=5)]
    answer = await client.post(BATCH_URL, content=array(*bodies), headers=JSON)
    assert answer.status_code == 200
    answers = answer.json()
    alone = [(await client.post(URL, content=body, headers=JSON)).json() for body in bodies]
    assert answers == alone
    assert [one.get("reason") for one in answers] == [None, "range", "shape", "utf8", None, None, "conflict"]


async def test_each_purchase_counts_as_a_checkout_by_its_own_answer(
    client: httpx.AsyncClient, outside: Outside
) -> None:
    def counted() -> Counter[str]:
        (metric,) = CHECKOUTS.collect()
        return Counter({one.labels["status"]: int(one.value) for one in metric.samples if one.name.endswith("_total")})

    before = counted()
    await client.post(BATCH_URL, content=array(body_of(1), body_of(2, amount=-1), b"17"), headers=JSON)
    assert counted() - before == Counter({"200": 1, "422": 2})
    outside.sender.refused_topics = {DECISIONS.name}
    before = counted()
    await client.post(BATCH_URL, content=array(body_of(3), body_of(4)), headers=JSON)
    assert counted() - before == Counter({"503": 2})
    before = counted()
    await client.post(BATCH_URL, content=b"[]", headers=JSON)
    assert counted() - before == Counter({"422": 1})


async def test_the_decisions_are_on_the_topic_byte_for_byte(client: httpx.AsyncClient, outside: Outside) -> None:
    answer = await client.post(BATCH_URL, content=array(*(body_of(number) for number in range(1, 40))), headers=JSON)
    published = outside.sender.on(DECISIONS.name)
    assert len(published) == 39
    by_event = {json.loads(value)["event_id"]: value for value in published}
    expected = [by_event[accepted(number).transaction.event_id] for number in range(1, 40)]
    assert answer.content == array(*expected)


@pytest.mark.parametrize(
    ("body", "status", "reason"),
    [
        (b"{}", 422, "shape"),
        (b"7", 422, "shape"),
        (b"[]", 422, "size"),
        (b"", 400, "empty"),
        (b"\xef\xbb\xbf \n", 400, "empty"),
        (array(*[b"{}"] * (MOST + 1)), 422, "size"),
        (b"[{}", 400, "syntax"),
        (b"[" * 100_000, 400, "depth"),
        (b"[{}] x", 400, "syntax"),
        (b"[" + b" " * BATCH_LIMIT + b"{}]", 413, "size"),
    ],
)
async def test_what_is_no_batch_is_refused_as_a_whole(
    client: httpx.AsyncClient, body: bytes, status: int, reason: str
) -> None:
    assert_problem(await client.post(BATCH_URL, content=body, headers=JSON), status, reason)


async def test_a_byte_order_mark_is_no_part_of_it(client: httpx.AsyncClient) -> None:
    answer = await client.post(BATCH_URL, content=b"\xef\xbb\xbf" + array(body_of(1)), headers=JSON)
    assert [one["decision"] for one in answer.json()] == ["approve"]


async def test_a_key_belongs_to_one_batch(client: httpx.AsyncClient) -> None:
    headers = JSON | {"Idempotency-Key": "monday"}
    first = await client.post(BATCH_URL, content=array(body_of(1)), headers=headers)
    again = await client.post(BATCH_URL, content=array(body_of(1)), headers=headers)
    assert (first.status_code, first.content) == (again.status_code, again.content)
    assert_problem(await client.post(BATCH_URL, content=array(body_of(2)), headers=headers), 422, "conflict")


async def test_a_key_is_held_for_as_long_as_its_batch_takes() -> None:
    class Slow(FakeSender):
        async def send_all(self, *arguments: object, **more: object) -> list[object]:
            await outside.keys.was_renewed.wait()
            return await super().send_all(*arguments, **more)  # type: ignore[arg-type]

    outside = Outside(sender=Slow(), keys=FakeKeys(in_flight_s=0.002))
    batch = Batch(outside.checkout(), KeyGuard(outside.keys))
    async with asyncio.timeout(10):
        await batch.decide(Question(array(body_of(1)), "shop", "monday"), [body_of(1)])
    assert not outside.keys.bound["shop", "monday"][1], "and released with its answer"


async def test_without_kafka_no_more_purchases_wait_than_were_on_their_way() -> None:
    class Counting(FakeSender):
        asked = 0

        async def send_all(self, *arguments: object, **more: object) -> list[object]:
            self.asked += 1
            return await super().send_all(*arguments, **more)  # type: ignore[arg-type]

    sender = Counting(refused_topics={DECISIONS.name})
    outside = Outside(sender=sender)
    checkout = outside.checkout()
    batch = Batch(checkout, KeyGuard(outside.keys))
    purchases = [body_of(number) for number in range(1, 201)]
    answers = json.loads(await batch.decide(Question(array(*purchases)), purchases))
    assert {answer["reason"] for answer in answers} == {"kafka-unavailable"}
    assert sender.asked <= 2 * 16


async def test_a_batch_is_paid_for_by_the_purchase() -> None:
    outside = Outside()
    checkout = outside.checkout()
    batches = Batch(checkout, KeyGuard(outside.keys))
    async with client_of(checkout, batches=batches, rate=Rate(1.0, 10)) as client:
        assert (await client.post(BATCH_URL, content=array(*[body_of(1)] * 8), headers=JSON)).status_code == 200
        assert_problem(await client.post(BATCH_URL, content=array(*[body_of(1)] * 8), headers=JSON), 429, "rate")
