"""A claim whose decision the topic has is marked where it stands, on a real Valkey."""

from __future__ import annotations

import dataclasses
from collections.abc import AsyncIterator

import pytest
from redis.asyncio import Redis

from deploy.local.valkey import Valkey
from services.scorer.claims import ANY_BODY, Claim, ClaimStore
from shared.claim_keys import COMPLETE, key_of

pytestmark = pytest.mark.integration

TTL_S = 60
DECISION = b'{"decision": "approve", "features": {' + b'"amount": 1.0, ' * 200 + b'"n": 1.0}}'


@pytest.fixture
async def redis(valkey: Valkey) -> AsyncIterator[Redis]:
    client = Redis.from_url(valkey.url)
    await client.flushall()
    await client.set(COMPLETE, "1")
    yield client
    await client.aclose()


def claim(event_id: str = "event", decision: bytes = DECISION, fingerprint: bytes = b"f" * 16) -> Claim:
    return Claim(event_id, fingerprint, decision)


async def mark(redis: Redis, *claims: Claim) -> list[Claim | None]:
    store = ClaimStore(redis, ttl_s=TTL_S)
    await store.mark_published(claims, {})
    return await store.lookup_all([each.event_id for each in claims])


async def test_it_is_what_it_was_but_for_its_mark_and_lives_on_from_now(redis: Redis) -> None:
    await redis.set(key_of("event"), claim().encode(published=False), px=5_000)
    (found,) = await mark(redis, claim())
    assert found == Claim("event", b"f" * 16, DECISION, published=True)
    assert await redis.pttl(key_of("event")) > 5_000


async def test_one_that_is_gone_is_written_again(redis: Redis) -> None:
    assert await mark(redis, claim()) == [Claim("event", b"f" * 16, DECISION, published=True)]
    assert await redis.pttl(key_of("event")) > 0


async def test_another_decision_that_is_published_stays(redis: Redis) -> None:
    """It was claimed after a loss, and others have been answered with it."""
    other = claim(decision=b"{}")
    await redis.set(key_of("event"), other.encode(published=True))
    assert await mark(redis, claim()) == [dataclasses.replace(other, published=True)]


@pytest.mark.parametrize("other", [claim(decision=b"{}"), claim(fingerprint=ANY_BODY), claim(decision=DECISION + b" ")])
async def test_what_stands_in_its_place_gives_way_to_what_the_topic_has(redis: Redis, other: Claim) -> None:
    await redis.set(key_of("event"), other.encode(published=False))
    assert await mark(redis, claim()) == [Claim("event", b"f" * 16, DECISION, published=True)]


async def test_a_user_of_an_earlier_release_marks_it_all_the_same(redis: Redis, valkey: Valkey) -> None:
    may = ["+eval", "+evalsha", "+get", "+set", "+mget", "+exists", "+hset"]
    await redis.acl_setuser("before", enabled=True, passwords=["+word"], keys=["*"], commands=may)
    await redis.set(key_of("event"), claim().encode(published=False))
    before = Redis.from_url(valkey.url, username="before", password="word")
    try:
        assert await mark(before, claim()) == [Claim("event", b"f" * 16, DECISION, published=True)]
    finally:
        await before.aclose()
    assert await redis.pttl(key_of("event")) > 0


async def test_each_of_many_by_itself(redis: Redis) -> None:
    await redis.set(key_of("a"), claim("a").encode(published=False))
    found = await mark(redis, claim("a"), claim("b"), claim("a"))
    assert [each and (each.event_id, each.published) for each in found] == [("a", True), ("b", True), ("a", True)]


async def test_redis_logs_no_decision_twice(redis: Redis, valkey: Valkey) -> None:
    """What its log grows by is what a restart has to read, and what is written anew again and again."""
    await redis.set(key_of("event"), claim().encode(published=False))
    await mark(redis, claim("another"))  # so that the script is known
    before = (await redis.info("persistence"))["aof_current_size"]
    await mark(redis, claim())
    assert (await redis.info("persistence"))["aof_current_size"] - before < len(DECISION) / 4
