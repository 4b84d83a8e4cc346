"""Redis loses claims, all of them or the latest: no event may get another decision."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import httpx
import msgspec
import pytest
from redis.asyncio import Redis
from redis.exceptions import ConnectionError as RedisConnectionError
from structlog.testing import capture_logs

from services.scorer.check import tell_of_claims_that_outlive_their_topic
from services.scorer.claims import ANY_BODY, INDEXED, Claim, ClaimStore, IndexIncomplete
from services.scorer.restore import LOCK, ClaimRestorer, _at_once
from shared.claim_keys import COMPLETE
from shared.contracts.events import DecisionUpdate, UpdateKind, encode
from shared.contracts.headers import EXPOSURE_HEADER
from shared.contracts.topics import DECISION_UPDATES, DECISIONS, FEATURES
from shared.exposure import Reservation, Standing
from shared.exposure.entries import entry_of, name_of
from shared.feature_state import EMPTY, FeatureStateStore, Position
from shared.kafka.admin import retention_ms
from shared.kafka.producer import OutgoingRecord
from tests.integration.scorer.conftest import Rig, until
from tests.integration.scorer.test_two_doors import JSON, ask, promoted, vector_of
from tests.unit.scorer.parts import body_of

pytestmark = pytest.mark.integration


def restorer(rig: Rig) -> ClaimRestorer:
    return ClaimRestorer(rig.redis, rig.parts.kafka_settings, ttl_s=60, settle_s=0)


def claim_of(event_id: str, decision: bytes) -> Claim:
    return Claim(event_id, bytes(16), decision)


def decision_of(event_id: str, customer_id: str = "anna", *, decision: str = "approve") -> bytes:
    """What of a decision the restoring looks at."""
    told = {"customer_id": customer_id, "transaction_id": "txn", "occurred_at": "2026-06-01T00:00:00.000000Z"}
    return msgspec.json.encode({"event_id": event_id, **told, "decision": decision, "reasons": [], "features": {}})


async def publish(rig: Rig, event_id: str, *decisions: bytes) -> None:
    await rig.producer.send_all([OutgoingRecord(DECISIONS.name, event_id.encode(), decision) for decision in decisions])


async def test_an_emptied_redis_claims_nothing_until_the_index_is_restored(rig: Rig, unique: str) -> None:
    store = ClaimStore(rig.redis, ttl_s=60)
    decision = decision_of(unique, decision="approve")
    second = decision_of(unique, decision="decline")
    await publish(rig, unique, decision, second)
    await rig.redis.flushall()
    with pytest.raises(IndexIncomplete):
        await store.claim([claim_of(unique, b"another")])
    with pytest.raises(IndexIncomplete):
        await store.lookup(unique)
    assert await rig.redis.exists(f"d:{unique}") == 0
    assert await restorer(rig).restore()
    [held] = await store.claim([claim_of(unique, b"another")])
    assert held == Claim(unique, ANY_BODY, decision, published=True)
    assert 0 < await rig.redis.pttl(f"d:{unique}") <= 60_000


async def test_a_redis_that_was_started_again_gets_the_decisions_that_its_log_lacks(rig: Rig, unique: str) -> None:
    store = ClaimStore(rig.redis, ttl_s=60)
    lost = f"{unique}-lost"
    await publish(rig, lost, decision_of(lost))
    # What a cut log and a start leave: the mark, but not the latest claims, and no scripts.
    await rig.redis.script_flush()
    assert await rig.redis.exists(COMPLETE) == 1
    with pytest.raises(IndexIncomplete):
        await store.claim([claim_of(lost, b"another")])
    # Noted now, it would hide what is missing before it.
    await store.mark_published([claim_of(unique, b"{}")], dict.fromkeys(range(4), 1_000_000))
    assert b"1000000" not in (await rig.redis.hgetall(INDEXED)).values()
    assert await restorer(rig).restore()
    [held] = await store.claim([claim_of(lost, b"another")])
    assert held.published
    assert held.fingerprint == ANY_BODY


async def test_a_claim_whose_mark_was_lost_is_marked_again_and_keeps_what_it_knows_of_its_purchase(
    rig: Rig, unique: str
) -> None:
    store, decision = ClaimStore(rig.redis, ttl_s=60), decision_of(unique)
    await publish(rig, unique, decision)
    await rig.redis.set(f"d:{unique}", claim_of(unique, decision).encode(published=False))
    other = f"{unique}-other"
    await publish(rig, other, decision_of(other))
    await rig.redis.set(f"d:{other}", claim_of(other, b"{}").encode(published=False))
    await rig.redis.script_flush()
    assert await restorer(rig).restore()
    held, of_another = await store.lookup_all([unique, other])
    assert held is not None and held.published and held.fingerprint == claim_of(unique, decision).fingerprint
    assert of_another is not None and not of_another.published, "the topic's is another decision"


async def test_what_is_no_decision_is_restored_for_nobody(rig: Rig, unique: str) -> None:
    """Anybody may have put it there: a checkout would be answered with it."""
    await publish(rig, unique, msgspec.json.encode({"event_id": unique}), b"no JSON")
    await rig.redis.flushall()
    assert await restorer(rig).restore()
    assert await rig.redis.exists(f"d:{unique}") == 0


async def test_a_restored_index_is_not_trusted_if_redis_was_emptied_meanwhile(rig: Rig, unique: str) -> None:
    await publish(rig, unique, decision_of(unique))
    await rig.redis.flushall()
    restoring = ClaimRestorer(rig.redis, rig.parts.kafka_settings, ttl_s=60, settle_s=3)
    stop = asyncio.Event()
    running = asyncio.create_task(restoring.run(stop))
    await until(lambda: _exists(rig, LOCK))
    await rig.redis.flushall()
    await until(lambda: _exists(rig, COMPLETE))
    assert await rig.redis.exists(f"d:{unique}") == 1
    stop.set()
    await running


async def test_what_is_owed_is_restored_from_longer_ago_than_claims(rig: Rig, unique: str) -> None:
    """A claim lives for a month; the last instalment of what it approved may be due in years."""
    terms = owed(unique)
    (place,) = await rig.producer.send_all(
        [
            OutgoingRecord(
                DECISIONS.name,
                b"anna",
                decision_of(unique, "anna"),
                [(EXPOSURE_HEADER, terms.text().encode())],
                timestamp_ms=int(time.time() * 1000) - 3_600_000,
            )
        ]
    )
    account = f"{{p{place.partition}}}:x:anna"
    await rig.redis.flushall()
    restoring = ClaimRestorer(rig.redis, rig.parts.kafka_settings, ttl_s=60, settle_s=0, debts_s=7_200)
    assert await restoring.restore()
    assert await rig.redis.hexists(account, name_of(unique))
    assert await rig.redis.exists(f"d:{unique}") == 0


async def test_updates_are_followed_once_and_after_the_next_loss_those_that_came_since(rig: Rig, unique: str) -> None:
    """A year of them, each time that Redis is started again, would keep everybody waiting."""
    first, second = f"{unique}-first", f"{unique}-second"
    restoring = ClaimRestorer(rig.redis, rig.parts.kafka_settings, ttl_s=60, settle_s=0, debts_s=7_200)
    place = await decided_of(rig, unique, first, second)
    account = f"{{p{place}}}:x:{unique}"
    await called_off(rig, unique, first)
    await rig.redis.flushall()
    assert await restoring.restore()
    assert await standings(rig, account, first, second) == [Standing.CANCELLED, Standing.COUNTS]

    # By hand, where nothing in the topic says so: followed again, it would be called off.
    await rig.redis.hset(account, name_of(first), entry_of(Standing.COUNTS, owed(first)))
    await called_off(rig, unique, second)
    await rig.redis.script_flush()
    assert await restoring.restore()
    assert await standings(rig, account, first, second) == [Standing.COUNTS, Standing.CANCELLED]

    await rig.redis.flushall()
    assert await restoring.restore()
    assert await standings(rig, account, first, second) == [Standing.CANCELLED, Standing.CANCELLED]


async def decided_of(rig: Rig, customer_id: str, *event_ids: str) -> int:
    """Approved, all in the partition that is given."""
    sent = []
    for event_id in event_ids:
        terms = owed(event_id).text().encode()
        body = decision_of(event_id, customer_id)
        sent.append(OutgoingRecord(DECISIONS.name, customer_id.encode(), body, [(EXPOSURE_HEADER, terms)]))
    places = {answer.partition for answer in await rig.producer.send_all(sent)}
    return int(places.pop())


async def called_off(rig: Rig, customer_id: str, event_id: str) -> None:
    update = DecisionUpdate(
        update_id=event_id, event_id=event_id, customer_id=customer_id, kind=UpdateKind.CANCEL, verdict=None,
        actor="a test", note=None, updated_at="2026-03-01T00:00:00.000000Z",
    )  # fmt: skip
    await rig.producer.send_all([OutgoingRecord(DECISION_UPDATES.name, customer_id.encode(), encode(update))])


async def standings(rig: Rig, account: str, *event_ids: str) -> list[Standing]:
    held: list[Any] = await rig.redis.hmget(account, [name_of(event_id) for event_id in event_ids])
    known = [{entry_of(standing, owed(event_id)): standing for standing in Standing} for event_id in event_ids]
    return [of_event[entry] for of_event, entry in zip(known, held, strict=True)]


def owed(event_id: str) -> Reservation:
    return Reservation(event_id, 9_900, 20_605, 30, 12)


async def test_a_batch_goes_through_the_very_connection_or_not_at_all(rig: Rig, unique: str) -> None:
    """Where Redis was started again between two batches, the second must not hide that the first is gone."""
    async with rig.redis.client() as connection:
        number = await connection.client_id()
        pipe = connection.pipeline(transaction=False)
        pipe.set(unique, "1")
        await _at_once(connection, pipe)
        assert await rig.redis.getdel(unique) == b"1"
        await rig.redis.client_kill_filter(_id=str(number))
        with pytest.raises(RedisConnectionError):
            await _at_once(connection, pipe)
    assert not await rig.redis.exists(unique)


async def _exists(rig: Rig, key: str) -> bool:
    return bool(await rig.redis.exists(key))


async def test_of_two_restorers_one_waits(rig: Rig) -> None:
    await rig.redis.flushall()
    await rig.redis.set(LOCK, "another", px=30_000)
    assert not await restorer(rig).restore()
    await rig.redis.delete(LOCK)
    assert await restorer(rig).restore()


async def test_after_flushall_both_doors_give_the_decision_of_before(
    rig: Rig, http: httpx.AsyncClient, unique: str
) -> None:
    promoted(rig.registry)
    async with rig.scorer(SCORER__PUBLISH_TIMEOUT_MS="1000") as scorer:
        answer = await ask(http, scorer, 1, unique)
        by_stream = vector_of(2, unique)
        await rig.send_vectors(by_stream)
        decided = await rig.decided(by_stream.event_id)
        await rig.redis.flushall()
        meanwhile = msgspec.json.decode(await ask(http, scorer, 3, unique))
        assert meanwhile["degraded"] == "rebuilding"
        await rig.send_vectors(by_stream, vector_of(1, unique), after := vector_of(4, unique))
        await rig.decided(after.event_id)
        store = FeatureStateStore(rig.redis)
        for partition in range(4):
            await store.begin(partition, EMPTY)
        assert await ask(http, scorer, 1, unique) == answer
        assert await ask(http, scorer, 2, unique) == decided
        assert msgspec.json.decode(await ask(http, scorer, 5, unique))["degraded"] is None
    assert set(await rig.decisions(by_stream.event_id)) == {decided}
    assert set(await rig.decisions(vector_of(1, unique).event_id)) == {answer}
    assert await rig.decisions(vector_of(3, unique).event_id) == []


async def test_while_a_partition_is_rebuilt_answers_say_so(rig: Rig, http: httpx.AsyncClient, unique: str) -> None:
    promoted(rig.registry)
    async with rig.scorer() as scorer:
        answer = await ask(http, scorer, 1, unique)
        for partition in range(4):
            await rig.redis.delete(f"{{p{partition}}}:pos")
            await FeatureStateStore(rig.redis).begin(partition, Position(5, -1))
        response = await http.post(f"{scorer.url}/v1/decisions", content=body_of(2, customer_id=unique), headers=JSON)
        assert response.json()["degraded"] == "rebuilding"
        assert await ask(http, scorer, 1, unique) == answer
    for partition in range(4):
        await Redis.delete(rig.redis, f"{{p{partition}}}:pos", f"{{p{partition}}}:rebuilding")


async def test_claims_that_live_longer_than_the_topic_keeps_decisions_are_told(rig: Rig) -> None:
    kafka = rig.parts.kafka_settings
    kept_ms = (await retention_ms(kafka, DECISIONS.name))[DECISIONS.name]
    assert kept_ms == DECISIONS.retention_ms
    with capture_logs() as said:
        await tell_of_claims_that_outlive_their_topic(kafka, kept_ms // 1000)
        assert said == []
        await tell_of_claims_that_outlive_their_topic(kafka, kept_ms // 1000 + 1)
        await tell_of_claims_that_outlive_their_topic(kafka, FEATURES.retention_ms // 1000)
        await tell_of_claims_that_outlive_their_topic(kafka, FEATURES.retention_ms // 1000 - 1)
    assert [line["event"] for line in said] == ["claims_outlive_their_topic", "vectors_outlive_claims"]
