"""What the scorer does while Redis or Kafka is away, on real parts that are really stopped."""

from __future__ import annotations

import asyncio
import time

import httpx
import msgspec
import pytest
from redis.asyncio import Redis

from services.scorer.claims import Claim, ClaimStore
from services.scorer.idempotency import IdempotencyKeys, InFlight
from shared.contracts.rejections import Rejection
from shared.contracts.topics import DECISIONS, TRANSACTIONS
from shared.kafka.errors import TransientError
from tests.integration.scorer.conftest import Rig, until
from tests.integration.scorer.test_two_doors import JSON, ask, marked, promoted
from tests.unit.scorer.parts import a_vector, accepted, body_of

pytestmark = pytest.mark.integration


async def test_without_redis_rest_falls_back_and_the_stream_decides_once_it_is_back(
    rig: Rig, http: httpx.AsyncClient, unique: str
) -> None:
    promoted(rig.registry)
    vector = a_vector(1, customer_id=unique)
    async with rig.scorer(SCORER__REDIS_TIMEOUT_MS="200") as scorer:
        await ask(http, scorer, 9, unique)
        await asyncio.to_thread(rig.parts.valkey.kill)
        try:
            answer = msgspec.json.decode(await ask(http, scorer, 1, unique))
            assert answer["degraded"] == "state_unavailable"
            assert answer["features"]["purchases_24h"] is None
            await rig.send_vectors(vector)
            assert (await http.get(f"{scorer.url}/v1/decisions/{vector.event_id}")).status_code == 503
        finally:
            await asyncio.to_thread(rig.parts.valkey.start)
        decided = await rig.decided(vector.event_id)
        assert msgspec.json.decode(decided)["degraded"] is None

        async def answered_as_decided() -> bool:
            return await ask(http, scorer, 1, unique) == decided

        await until(answered_as_decided)
    assert await rig.decisions(vector.event_id) == [decided]
    published = [r for r in await rig.records(TRANSACTIONS.name) if r.key == unique.encode()]
    assert vector.event_id.encode() in {dict(record.headers)["ce_id"] for record in published}


async def test_a_redis_that_hangs_costs_a_checkout_no_more_than_its_time_out(
    rig: Rig, http: httpx.AsyncClient, unique: str
) -> None:
    promoted(rig.registry)
    async with rig.scorer(SCORER__REDIS_TIMEOUT_MS="500") as scorer:
        await ask(http, scorer, 1, unique)
        await asyncio.to_thread(rig.parts.valkey.pause)
        try:
            started = time.monotonic()
            answer = msgspec.json.decode(await ask(http, scorer, 2, unique))
            took = time.monotonic() - started
        finally:
            await asyncio.to_thread(rig.parts.valkey.resume)
    assert answer["degraded"] == "state_unavailable"
    assert took < 2  # one time-out, on a machine that is busy; each question's own would come to more


async def test_without_kafka_rest_says_503_and_the_retry_gets_the_claimed_decision(
    rig: Rig, http: httpx.AsyncClient, unique: str
) -> None:
    promoted(rig.registry)
    event_id = accepted(1, customer_id=unique).transaction.event_id
    async with rig.scorer(SCORER__PUBLISH_TIMEOUT_MS="500") as scorer:
        await ask_until_answered(http, scorer.url, body_of(2, customer_id=unique))
        await asyncio.to_thread(rig.parts.kafka.pause)
        try:
            refused = await http.post(
                f"{scorer.url}/v1/decisions", content=body_of(1, customer_id=unique), headers=JSON
            )
            claimed = await ClaimStore(rig.redis, ttl_s=60).lookup(event_id)
        finally:
            await asyncio.to_thread(rig.parts.kafka.resume)
        assert (refused.status_code, refused.json()["reason"]) == (503, "kafka-unavailable")
        assert refused.headers["retry-after"] == "1"
        assert claimed is not None
        answer = await ask_until_answered(http, scorer.url, body_of(1, customer_id=unique))
        assert answer == claimed.decision
        await until(lambda: marked(rig, event_id))
    assert set(await rig.decisions(event_id)) == {answer}


async def ask_until_answered(http: httpx.AsyncClient, url: str, body: bytes) -> bytes:
    found: list[bytes] = []

    async def answered() -> bool:
        answer = await http.post(f"{url}/v1/decisions", content=body, headers=JSON)
        if answer.status_code == 200:
            found.append(answer.content)
        return bool(found)

    await until(answered)
    return found[0]


async def test_a_scorer_that_starts_before_its_dependencies_decides_once_they_are_there(rig: Rig, unique: str) -> None:
    promoted(rig.registry)
    vector = a_vector(1, customer_id=unique)
    await rig.send_vectors(vector)
    await asyncio.to_thread(rig.parts.valkey.kill)
    try:
        async with rig.scorer():
            await asyncio.to_thread(rig.parts.valkey.start)
            assert await rig.decided(vector.event_id)
    finally:
        if not rig.parts.valkey.running:
            await asyncio.to_thread(rig.parts.valkey.start)


async def test_another_partition_count_stops_the_scorer_before_it_decides(rig: Rig, unique: str) -> None:
    vector = a_vector(1, customer_id=unique)
    await rig.redis.set("flit:partitions", 7)
    try:
        async with rig.scorer() as scorer:
            await rig.send_vectors(vector)

            async def ended() -> bool:
                return not scorer.process.running

            await until(ended)
            assert scorer.process.exit_code == 1
    finally:
        await rig.redis.delete("flit:partitions")
    assert await rig.decisions(vector.event_id) == []
    assert [r for r in await rig.records(DECISIONS.name) if r.key == unique.encode()] == []


async def test_of_many_claims_for_an_event_one_wins_and_all_hear_of_it(rig: Rig, unique: str) -> None:
    store = ClaimStore(rig.redis, ttl_s=60)
    wanted = [Claim(unique, bytes(16), str(i).encode()) for i in range(50)]
    held = await asyncio.gather(*(store.claim([claim]) for claim in wanted))
    assert len({one.decision for [one] in held}) == 1
    assert sum(one is mine for [one], mine in zip(held, wanted, strict=True)) == 1
    [[winner], *_] = held
    await store.mark_published([winner], {})
    assert (await store.lookup(unique)) == Claim(unique, bytes(16), winner.decision, published=True)
    assert 0 < await rig.redis.pttl(f"d:{unique}") <= 60_000


async def test_a_mark_brings_back_a_claim_that_was_lost_while_its_decision_was_sent(rig: Rig, unique: str) -> None:
    store = ClaimStore(rig.redis, ttl_s=60)
    await store.mark_published([Claim(unique, bytes(16), b"{}")], {})
    assert await store.lookup(unique) == Claim(unique, bytes(16), b"{}", published=True)


async def bind(keys: IdempotencyKeys, caller: str, key: str, fingerprint: bytes) -> bool:
    (answer,) = await keys.bind_all([(caller, key, fingerprint)])
    if isinstance(answer, Exception):
        raise answer
    return answer is True


async def test_a_key_is_renewed_by_its_own_request_alone_and_keeps_an_answer(rig: Rig, unique: str) -> None:
    keys, mine = IdempotencyKeys(rig.redis, ttl_s=60, in_flight_s=30), ("shop", unique, b"a" * 16)
    assert await bind(keys, *mine)
    (name,) = [key async for key in rig.redis.scan_iter("i:*") if await rig.redis.get(key) == b"i" + b"a" * 16]
    await rig.redis.pexpire(name, 5_000)
    await keys.renew(("shop", unique, b"b" * 16))
    assert await rig.redis.pttl(name) <= 5_000
    await keys.renew(mine)
    assert await rig.redis.pttl(name) > 20_000
    await keys.release_all([mine], b"the answer")
    assert await keys.bind_all([mine]) == [b"the answer"]
    await keys.renew(mine)
    assert await rig.redis.pttl(name) > 30_000, "it is kept as an answer is"


async def test_a_key_is_bound_while_in_flight_and_after(rig: Rig, unique: str) -> None:
    keys = IdempotencyKeys(rig.redis, ttl_s=60, in_flight_s=30)
    assert await bind(keys, "shop", unique, b"a" * 16)
    with pytest.raises(InFlight):
        await bind(keys, "shop", unique, b"a" * 16)
    with pytest.raises(Rejection):
        await bind(keys, "shop", unique, b"b" * 16)
    assert await bind(keys, "other", unique, b"b" * 16)
    await keys.release_all([("shop", unique, b"a" * 16)])
    assert not await bind(keys, "shop", unique, b"a" * 16)
    with pytest.raises(Rejection):
        await bind(keys, "shop", unique, b"b" * 16)


async def test_a_dead_address_is_a_transient_error(unique: str) -> None:
    store = ClaimStore(Redis.from_url("redis://127.0.0.1:1/0"), ttl_s=60)
    with pytest.raises(TransientError):
        await store.lookup(unique)
