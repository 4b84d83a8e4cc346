"""A topic that was made anew has other records where the warehouse has rows: the sink ends, and says where to look."""

from __future__ import annotations

import asyncio

from aiokafka.admin import AIOKafkaAdminClient

from shared.contracts.topics import DECISION_UPDATES
from shared.kafka.admin import ensure_topics
from shared.kafka.connection import client_arguments
from shared.warehouse.tables import DECISION_UPDATES as TABLE
from tests.integration.sink.world import PROJECT, World, until

LIVES = 20


async def made_anew(world: World) -> None:
    """The topic, with nothing in it."""
    admin = AIOKafkaAdminClient(**client_arguments(world.kafka))
    await admin.start()
    try:
        await admin.delete_topics([DECISION_UPDATES.name])

        async def gone() -> bool:
            return DECISION_UPDATES.name not in await admin.list_topics()

        await until(gone, "the topic is gone")
    finally:
        await admin.close()
    await ensure_topics(world.kafka)
    world.written = [place for place in world.written if place[0] != DECISION_UPDATES.name]
    world.without_row = {place for place in world.without_row if place[0] != DECISION_UPDATES.name}


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
    async with world.sink() as sink:

        async def ended() -> bool:
            return not sink.process.running

        await until(ended, "the sink has ended")
        said = sink.process.log_file.read_text()
    assert "LogMismatch" in said
    assert "of decision-updates-" in said
    assert "came to Kafka at" in said
    assert "which ends at" not in said, "this log is no shorter than the warehouse"
    assert world.rows(TABLE) == before, "no row of the other log was written"

    # The way out that the README names.
    world.query(f"CREATE TABLE `{PROJECT}.{TABLE.dataset}.kept` AS SELECT * FROM `{PROJECT}.{TABLE.id}`")
    world.query(f"DELETE FROM `{PROJECT}.{TABLE.id}` WHERE {TABLE.ever} AND kafka_topic = '{DECISION_UPDATES.name}'")
    async with world.sink() as sink:
        await sink.ready()
        await world.caught_up()
    world.query(f"DROP TABLE `{PROJECT}.{TABLE.dataset}.kept`")
    world.assert_exact()
    assert all(balance.balanced for balance in await asyncio.wait_for(world.balances(), 60))
