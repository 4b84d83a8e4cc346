"""What customers owe, in a real Valkey: the contract of the accounts, parallel checkouts, and accounts after a loss."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import cast

import httpx
import pytest
from redis.asyncio import Redis

from shared.exposure import ExposureStore, Standing
from shared.exposure.entries import entry_of, name_of
from tests import factories
from tests.integration.scorer.conftest import Rig, Scorer, until
from tests.unit.exposure.contract import CONTRACT, NOW_MS, Accounts, granted, purchase

pytestmark = pytest.mark.integration

EARLIER = ("hget", "hset", "hdel", "hgetall", "hlen", "hrandfield", "pttl", "pexpire")
LIMIT_USD, AMOUNT = 2000, 99.0
"""The default policy's, and what its fallback approves without a model."""
WITHIN = int(LIMIT_USD // AMOUNT)


@pytest.mark.parametrize("promise", CONTRACT, ids=lambda promise: promise.__name__)
async def test_the_scripts_keep_the_contract(rig: Rig, promise: Callable[[Accounts], Awaitable[None]]) -> None:
    for customer in ("anna", "ben"):
        await rig.redis.delete(f"{{p1}}:x:{customer}")
    async with Redis.from_url(rig.parts.valkey.url, max_connections=300) as redis:
        await promise(ExposureStore(redis))


async def test_an_account_outlives_its_last_instalment_and_ends(rig: Rig) -> None:
    await rig.redis.delete("{p1}:x:anna")
    accounts = ExposureStore(rig.redis)
    assert await granted(accounts, purchase("long", 1, period=30, count=12))
    kept = await rig.redis.pttl("{p1}:x:anna")
    assert await granted(accounts, purchase("short", 1))
    assert 389 * 86_400_000 < await rig.redis.pttl("{p1}:x:anna") <= kept <= 390 * 86_400_000


@pytest.mark.parametrize("hours", [-1, 1])
async def test_a_scorer_with_a_wrong_clock_takes_nobody_s_reservation_for_lapsed(
    rig: Rig, hours: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    await rig.redis.delete("{p1}:x:anna")
    accounts, right = ExposureStore(rig.redis), time.time
    for turn in range(2):  # the one that is wrong asks last, and first
        monkeypatch.setattr(time, "time", lambda turn=turn: right() + (3_600 * hours if turn else 0))
        assert (await accounts.reserve([purchase("a", 15_000)], 25_000))[0]
        monkeypatch.setattr(time, "time", lambda turn=turn: right() + (0 if turn else 3_600 * hours))
        assert not (await accounts.reserve([purchase("b", 15_000)], 25_000))[0]
        await accounts.take_back([purchase("a", 15_000)])
        assert (await accounts.reserve([purchase("b", 15_000)], 25_000))[0]
        await accounts.take_back([purchase("b", 15_000)])


async def test_a_user_of_an_earlier_release_reserves_by_the_scorers_own_clock(rig: Rig) -> None:
    may = ["+eval", "+evalsha", "+script|load", *(f"+{name}" for name in EARLIER)]
    await rig.redis.acl_setuser("before", enabled=True, passwords=["+word"], keys=["*"], commands=may)
    await rig.redis.delete("{p1}:x:anna")
    async with Redis.from_url(rig.parts.valkey.url, username="before", password="word") as before:
        accounts = ExposureStore(before)
        assert await accounts.reserve([purchase("a", 15_000)], 25_000) == [True]
        assert await accounts.reserve([purchase("b", 15_000)], 25_000) == [False]
    assert await ExposureStore(rig.redis).reserve([purchase("b", 15_000)], 25_000) == [False]


async def entries(rig: Rig) -> dict[bytes, bytes]:
    return cast(dict[bytes, bytes], await rig.redis.hgetall("{p1}:x:anna"))


async def test_what_is_settled_takes_25_bytes_however_it_came_there(rig: Rig) -> None:
    """Settled, brought back from the topic, or changed by a reviewer: the same bytes."""
    place = purchase("event-1", 4_294_967_295)
    seen = []
    for step in ("settle", "restore", "change"):
        await rig.redis.delete("{p1}:x:anna")
        accounts = ExposureStore(rig.redis)
        if step == "restore":
            await ExposureStore.load_scripts(rig.redis)
            pipe = rig.redis.pipeline()
            ExposureStore.restore(pipe, place, Standing.COUNTS)
            await pipe.execute()
        else:
            assert await granted(accounts, place, None)
        if step == "settle":
            await accounts.settle([(place, Standing.COUNTS)])
        if step == "change":
            await accounts.change([1], "anna", "event-1", Standing.COUNTS)
        seen.append(await entries(rig))
    assert seen[0] == seen[1] == seen[2] == {name_of("event-1"): entry_of(Standing.COUNTS, place[2])}
    assert len(next(iter(seen[0]))) + len(next(iter(seen[0].values()))) == 25


@pytest.mark.parametrize("cents", [1, 2**32 - 1, 2**32, 2**40])
async def test_an_amount_of_any_size_is_the_same_after_each_step(rig: Rig, cents: int) -> None:
    await rig.redis.delete("{p1}:x:anna")
    accounts, place = ExposureStore(rig.redis), purchase("a", cents)
    assert await granted(accounts, place, None)
    await accounts.settle([(place, Standing.RELEASED)])
    await accounts.change([1], "anna", "a", Standing.COUNTS)
    assert not await granted(accounts, purchase("b", 1), cents)
    assert await granted(accounts, purchase("b", 1), cents + 1)


async def test_an_account_from_before_purchases_had_names_is_gone_on_with(rig: Rig) -> None:
    key, accounts = "{p1}:x:anna", ExposureStore(rig.redis)
    held = {name: purchase(name, 5_000) for name in ("counts", "pending", "released", "verdict")}
    text = {name: f"{place[2].text()}" for name, place in held.items()}
    await rig.redis.delete(key)
    await rig.redis.hset(
        key,
        mapping={
            "counts": f"0 {text['counts']}", "pending": f"{NOW_MS + 1000} {text['pending']}",
            "released": f"-1 {text['released']}", "verdict": f"-1 {text['verdict']}",
        },
    )  # fmt: skip
    assert not await granted(accounts, purchase("new", 1), 10_000), "both that count are known"
    assert await granted(accounts, held["counts"], 10_000)
    assert await granted(accounts, held["pending"], 10_000)
    assert len(await entries(rig)) == 4, "nothing was reserved twice"
    await accounts.settle([(held["pending"], Standing.COUNTS)])
    await accounts.change([1], "anna", "verdict", Standing.COUNTS)
    assert set(await entries(rig)) == {b"counts", b"released", name_of("pending"), name_of("verdict")}
    assert not await granted(accounts, purchase("new", 1), 15_000)
    assert await granted(accounts, purchase("new", 1), 15_001)


async def ask(http: httpx.AsyncClient, scorer: Scorer, name: str, customer: str) -> httpx.Response:
    """Until there is a place: 100 at once is a crowd."""
    body = factories.transaction(1, event_id=name, customer_id=customer, transaction_id=name, amount=AMOUNT)
    while True:
        answer = await http.post(f"{scorer.url}/v1/decisions", json=body)
        if answer.status_code != 503:
            return answer
        await asyncio.sleep(0.02)


async def test_200_checkouts_of_one_customer_at_once_never_pass_the_limit_also_after_redis_lost_everything(
    rig: Rig, http: httpx.AsyncClient, unique: str
) -> None:
    async with rig.scorer() as one, rig.scorer() as two:
        answers = await asyncio.gather(*(ask(http, (one, two)[i % 2], f"{unique}-{i}", unique) for i in range(200)))
        assert {answer.status_code for answer in answers} == {200}
        decisions = [answer.json() for answer in answers]
        assert Counter(decision["decision"] for decision in decisions) == {"approve": WITHIN, "review": 200 - WITHIN}
        reviewed = [decision for decision in decisions if decision["decision"] == "review"]
        assert {decision["reasons"][0]["code"] for decision in reviewed} == {"policy_exposure_limit"}
        approved = next(decision["event_id"] for decision in decisions if decision["decision"] == "approve")

        assert (await http.post(f"{one.url}/v1/decisions/{approved}/cancel")).status_code == 202
        assert (await ask(http, two, f"{unique}-after", unique)).json()["decision"] == "approve"
        assert (await ask(http, two, f"{unique}-beyond", unique)).json()["decision"] == "review"

        await rig.redis.flushall()
        # The features service would do this.
        for partition in range(4):
            await rig.begin(partition)
        answer = None

        async def decided() -> bool:
            nonlocal answer
            number = 0 if answer is None else answer[0] + 1
            found = (await ask(http, one, f"{unique}-again-{number}", unique)).json()
            answer = (number, found)
            return bool(found.get("degraded") == "no_model")

        await until(decided)
        assert answer is not None
        assert answer[1]["decision"] == "review", "what was owed is known again"
        assert answer[1]["reasons"][0]["code"] == "policy_exposure_limit"
