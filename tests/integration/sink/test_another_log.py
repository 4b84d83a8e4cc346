"""A topic that was made anew has other records where the warehouse has rows: the sink ends, and says where to look."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys

from aiokafka import TopicPartition

from shared.contracts.topics import DECISION_UPDATES
from shared.kafka.admin import ensure_topics
from shared.kafka.connection import admin_client
from shared.warehouse.tables import DECISION_UPDATES as TABLE
from tests.integration.sink.world import PROJECT, World, until
from tests.unit.sink.records import one_of_each

LIVES = 20


async def made_anew(world: World) -> None:
    """The topic, with nothing in it."""
    async with admin_client(world.kafka) as admin:
        await admin.delete_topics([DECISION_UPDATES.name])

        async def gone() -> bool:
            return DECISION_UPDATES.name not in await admin.list_topics()

        await until(gone, "the topic is gone")
    await ensure_topics(world.kafka)
    world.written = [place for place in world.written if place[0] != DECISION_UPDATES.name]
    world.without_row = {place for place in world.without_row if place[0] != DECISION_UPDATES.name}


async def committed_offsets(world: World) -> dict[TopicPartition, int]:
    """Of the topic that is made anew."""
    return {at: offset for at, offset in (await world.committed()).items() if at.topic == DECISION_UPDATES.name}


async def ended_by_itself(world: World) -> str:
    """Start a sink that has to end; what it said."""
    async with world.sink() as sink:

        async def ended() -> bool:
            return not sink.process.running

        await until(ended, "the sink has ended")
        return sink.process.log_file.read_text()


async def test_a_log_that_was_made_anew_and_has_grown_beyond_the_warehouse_is_noticed(world: World) -> None:
    await world.send_lives(LIVES)
    await world.judge_all()
    async with world.sink() as sink:
        await sink.ready()
        await world.caught_up()
    before = world.rows(TABLE)
    await made_anew(world)
    longest = max(offset for _, _, offset in before) + 1
    while {place[1]: place[2] for place in world.written if place[0] == DECISION_UPDATES.name}.get(0, -1) <= longest:
        await world.send_lives(LIVES)
    await world.send_lives(3 * LIVES)  # the other partitions, too, are longer than they were
    await world.judge_all()
    committed = await committed_offsets(world)
    said = await ended_by_itself(world)
    assert "LogMismatch" in said
    assert "of decision-updates-" in said
    assert "came to Kafka at" in said
    assert "which ends at" not in said, "this log is no shorter than the warehouse"
    assert world.rows(TABLE) == before, "no row of the other log was written"
    assert await committed_offsets(world) == committed, "and nothing of it counts as written"

    # The way out that the README names.
    world.query(f"CREATE TABLE `{PROJECT}.{TABLE.dataset}.kept` AS SELECT * FROM `{PROJECT}.{TABLE.id}`")
    world.query(f"DELETE FROM `{PROJECT}.{TABLE.id}` WHERE {TABLE.ever} AND kafka_topic = '{DECISION_UPDATES.name}'")
    async with world.sink() as sink:
        await sink.ready()
        await world.caught_up()
    world.query(f"DROP TABLE `{PROJECT}.{TABLE.dataset}.kept`")
    world.assert_exact()
    assert all(balance.balanced for balance in await asyncio.wait_for(world.balances(), 60))


async def send_updates(world: World, count: int) -> None:
    """The same each time."""
    lives = [(f"cust_{number:06d}", one_of_each(number, f"cust_{number:06d}")) for number in range(count)]
    await world.send((DECISION_UPDATES, life[DECISION_UPDATES], customer, None) for customer, life in lives)


async def test_a_log_that_was_made_anew_with_the_same_events_is_told_by_when_they_came(world: World) -> None:
    await made_anew(world)
    world.query(f"DELETE FROM `{PROJECT}.{TABLE.id}` WHERE {TABLE.ever} AND kafka_topic = '{DECISION_UPDATES.name}'")
    await send_updates(world, LIVES)
    async with world.sink() as sink:
        await sink.ready()
        await world.caught_up()
    events = world.query(f"SELECT kafka_partition, kafka_offset, event_id FROM `{PROJECT}.{TABLE.id}`")
    await made_anew(world)
    await send_updates(world, LIVES)
    await world.commit("sink", DECISION_UPDATES)  # as where only the end was lost, or offsets were set by hand
    assert "LogMismatch" in await ended_by_itself(world)
    wrong = [balance for balance in await world.balances() if balance.wrong]
    assert sum(len(balance.wrong) for balance in wrong) == LIVES
    assert {balance.table for balance in wrong} == {TABLE.id}
    done = await asyncio.to_thread(repaired, world)
    assert f"{LIVES} rows deleted, {LIVES} written" in done.stdout, done.stderr
    async with world.sink() as sink:
        await sink.ready()
        await world.caught_up()
    assert sorted(world.query(f"SELECT kafka_partition, kafka_offset, event_id FROM `{PROJECT}.{TABLE.id}`")) == sorted(
        events
    )
    world.assert_exact()


def repaired(world: World) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "services.sink", "repair"],
        env={**os.environ, **world.environment()},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
