"""Redis loses states, all or a part; they are made anew from the log, without anybody's help and without a trace."""

from __future__ import annotations

import asyncio
import os
import sys
from collections import Counter

import pytest

from shared.contracts.identity import partition_of
from shared.contracts.topics import OUTCOMES, TRANSACTIONS
from shared.feature_state import EMPTY
from tests.integration.features.conftest import PARTITIONS, Rig, until
from tests.integration.features.streams import mixed, purchase, recomputed, replayed_states

HOME = partition_of(b"cust_000000", PARTITIONS)


async def whole(rig: Rig) -> bool:
    return await rig.has_caught_up() and all([(await rig.store.standing(number)).whole for number in range(PARTITIONS)])


async def assert_nothing_shows(rig: Rig) -> None:
    """States, vectors and refusals are those of a system that lost nothing."""
    transactions, outcomes = await rig.records(TRANSACTIONS.name), await rig.records(OUTCOMES.name)
    assert await rig.states() == replayed_states(transactions, outcomes)
    vectors = await rig.vectors()
    assert [vector["features"] for vector in vectors] == recomputed(vectors, transactions, outcomes)
    assert max(Counter(vector["event_id"] for vector in vectors).values()) == 1


async def test_after_flushall_under_load_states_are_rebuilt_by_the_running_process(rig: Rig) -> None:
    features = await rig.start_ready(FEATURES__MAX_BATCH="50")
    records = mixed(1500)
    await rig.send(records[:1200])
    await until(rig.has_caught_up)
    refused = {number: await rig.store.refused_between(number, 0, 10_000) for number in range(PARTITIONS)}
    await rig.store._redis.flushall()
    await rig.send(records[1200:])
    await until(lambda: whole(rig))
    await assert_nothing_shows(rig)
    for number in range(PARTITIONS):
        assert refused[number] <= await rig.store.refused_between(number, 0, 10_000)
    assert features.process.returncode is None
    letters = Counter((letter["topic"], letter["partition"], letter["offset"]) for letter in await rig.letters())
    assert letters
    assert len(features.events("rebuilt")) >= PARTITIONS


async def test_a_partition_that_lost_its_keys_is_rebuilt_while_the_others_go_on(rig: Rig) -> None:
    features = await rig.start_ready()
    await rig.send(mixed(600))
    await until(rig.has_caught_up)
    async for key in rig.store._redis.scan_iter(f"{{p{HOME}}}:*"):
        await rig.store._redis.delete(key)
    await until(lambda: whole(rig))
    await assert_nothing_shows(rig)
    assert {line["partition"] for line in features.events("rebuilt")} == {HOME}


async def test_a_position_lost_alone_does_not_leave_purchases_counted_twice(rig: Rig) -> None:
    features = await rig.start_ready()
    await rig.send(mixed(400))
    await until(rig.has_caught_up)
    await rig.store.forget(HOME)
    await until(lambda: whole(rig))
    await assert_nothing_shows(rig)
    assert features.process.returncode is None


async def test_a_process_killed_while_it_rebuilt_leaves_a_rebuild_that_the_next_one_finishes(rig: Rig) -> None:
    features = await rig.start_ready()
    await rig.send(mixed(600))
    await until(rig.has_caught_up)
    features.kill()
    await features.exit_code()
    target = await rig.store.position(HOME)
    await rig.store.forget(HOME)
    await rig.store.begin(HOME, target)  # as far as it may have come
    await rig.start_ready()
    await until(lambda: whole(rig))
    await assert_nothing_shows(rig)


@pytest.mark.parametrize("running", [True, False], ids=["while the service runs", "while it is away as well"])
async def test_a_redis_that_comes_back_without_its_last_writes_is_noticed(rig: Rig, running: bool) -> None:
    features = await rig.start_ready(FEATURES__MAX_BATCH="20")
    records = mixed(600)
    await rig.send(records[:400])
    await until(rig.has_caught_up)
    (log,) = rig.valkey.log_files()
    kept = log.stat().st_size
    await rig.send(records[400:])
    await until(rig.has_caught_up)
    if not running:
        assert await features.terminate(30) == 0
    rig.valkey.kill()
    os.truncate(log, kept - 1)  # in the middle of a write
    rig.valkey.start()
    if not running:
        features = await rig.start_ready(FEATURES__MAX_BATCH="20")
    await until(lambda: whole(rig))
    await assert_nothing_shows(rig)
    assert features.events("states_went_back")
    assert features.events("rebuilt")
    assert features.process.returncode is None


async def test_states_can_be_rebuilt_by_hand_but_not_under_a_running_process(rig: Rig) -> None:
    features = await rig.start_ready()
    await rig.send(mixed(300))
    await until(rig.has_caught_up)
    assert await by_hand(rig) == 1
    assert await features.terminate(30) == 0
    before = await rig.states()
    async for key in rig.store._redis.scan_iter("{p*}:c:*"):
        await rig.store._redis.set(key, b"not a state")
    assert await by_hand(rig, "--partition", str(HOME)) == 0
    assert await by_hand(rig) == 0
    assert await rig.states() == before
    await assert_nothing_shows(rig)


async def by_hand(rig: Rig, *arguments: str, **environment: str) -> int:
    settings = {"KAFKA__BOOTSTRAP_SERVERS": rig.settings.bootstrap_servers, "REDIS__URL": rig.valkey.url}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "services.features", "rebuild", *arguments),
        env={**os.environ, **settings, **environment},
    )
    async with asyncio.timeout(90):
        return await process.wait()


async def test_a_new_system_begins_with_positions(rig: Rig) -> None:
    await rig.start_ready()
    for number in range(PARTITIONS):
        standing = await rig.store.standing(number)
        assert (standing.position, standing.target) == (EMPTY, None)
    await rig.send([purchase(0)])
    await until(rig.has_caught_up)
