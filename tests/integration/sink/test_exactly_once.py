"""Each record one row, whatever is killed meanwhile."""

from __future__ import annotations

import asyncio

import pytest

from services.sink.__main__ import serve
from shared.contracts import topics
from shared.contracts.identity import partition_of
from shared.warehouse import tables
from tests.factories import transaction_bytes
from tests.integration.sink.world import World, until
from tests.unit.sink.records import PARTITIONS, letter_bytes, one_of_each

LIVES = 840
"""Purchases with their five followers each: 5,040 records."""


async def test_every_record_of_every_topic_gets_one_row_and_a_stopped_sink_has_committed_what_it_wrote(
    world: World,
) -> None:
    await world.send_lives(50)
    await world.judge_all()
    before = await world.count()
    stop = asyncio.Event()
    async with asyncio.TaskGroup() as running:
        running.create_task(serve(world.settings(), stop))
        await world.rows_reach(before + 50 * 7)
        stop.set()
    assert await world.lag() == 0
    world.assert_exact()


async def test_a_sink_that_is_killed_in_the_middle_leaves_no_row_out_and_none_twice(world: World) -> None:
    before = await world.count()
    await world.send_lives(LIVES)
    await world.judge_all()

    for share in (0.1, 0.4):
        async with world.sink() as sink:
            await world.rows_reach(before + int(share * LIVES * 7))
            sink.kill()
    async with world.sink() as sink:
        await sink.ready()
        await world.caught_up()
    world.assert_exact()


async def test_a_warehouse_that_is_killed_in_the_middle_leaves_no_row_out_and_none_twice(world: World) -> None:
    before = await world.count()
    await world.send_lives(LIVES)
    await world.judge_all()
    async with world.sink() as sink:
        await world.rows_reach(before + LIVES)
        world.stack.bigquery.kill()
        world.stack.bigquery.start()
        await sink.ready()
        await world.caught_up()
    world.assert_exact()


async def test_a_record_that_is_refused_has_no_row_and_its_neighbours_have_theirs(world: World) -> None:
    customer = "cust_poison"
    life = one_of_each(world.next_number, customer)
    poison = [
        (topics.TRANSACTIONS, b"{", customer, None),
        (topics.TRANSACTIONS, None, customer, None),
        (topics.TRANSACTIONS, transaction_bytes(1, customer_id="somebody else"), customer, None),
        (topics.TRANSACTIONS, transaction_bytes(1, customer_id=customer, amount=-1), customer, None),
        (topics.OUTCOMES, b'{"event_id": "e"}', customer, None),
        (topics.FEATURES, life[topics.FEATURES].replace(b'"feature_hash":"', b'"feature_hash":"0'), customer, None),
        (topics.DECISIONS, b"[]", customer, None),
    ]
    await world.send(poison, rows=False)
    await world.send_lives(20)
    other = transaction_bytes(0, customer_id="cust_000000", amount=1)
    conflict = await world.send([(topics.TRANSACTIONS, other, "cust_000000", None)], rows=False)
    ((_, partition, offset),) = conflict
    letter = letter_bytes(offset, other, partition=partition)
    await world.send([(topics.DEAD_LETTERS, letter, "cust_000000", None)])
    await world.send(poison, rows=False)
    await world.judge_all(refused=conflict)
    async with world.sink() as sink:
        await sink.ready()
        await world.caught_up()
    world.assert_exact()


async def test_a_record_in_a_wrong_partition_has_a_row_that_the_views_pass_over(world: World) -> None:
    customer, value = "cust_astray", transaction_bytes(77, event_id="astray", customer_id="cust_astray")
    home = partition_of(customer.encode(), PARTITIONS)
    await world.send([(topics.TRANSACTIONS, value, customer, (home + 1) % PARTITIONS)])
    await world.judge_all()
    async with world.sink() as sink:
        await sink.ready()
        await world.caught_up()
        world.assert_exact()
        assert (
            world.query("SELECT event_id FROM `{project}.flit_ml.transactions_current` WHERE event_id='astray'") == []
        )
        await world.send([(topics.TRANSACTIONS, value, customer, home)])
        await world.judge_all()
        await world.caught_up()
    world.assert_exact()
    found = world.query(
        "SELECT kafka_partition FROM `{project}.flit_ml.transactions_current` WHERE event_id = 'astray'"
    )
    assert found == [(home,)]


async def test_transactions_wait_for_the_features_service_and_hold_up_no_other_table(world: World) -> None:
    transactions = sum(world.rows(tables.TRANSACTIONS).values())
    decisions = sum(world.rows(tables.DECISIONS).values())
    await world.send_lives(30)
    async with world.sink() as sink:
        await sink.ready()

        async def decided() -> bool:
            return sum(world.rows(tables.DECISIONS).values()) == decisions + 30

        await until(decided, "the decisions are there")
        assert sum(world.rows(tables.TRANSACTIONS).values()) == transactions
        await world.judge_all()
        await world.caught_up()
    world.assert_exact()


@pytest.mark.slow
async def test_two_sinks_share_the_partitions_and_one_goes_on_alone_when_the_other_is_killed(world: World) -> None:
    async with world.sink() as first, world.sink() as second:
        await first.ready()
        await second.ready()
        before = await world.count()
        await world.send_lives(300)
        await world.judge_all()
        await world.rows_reach(before + 300)
        second.kill()
        await world.caught_up()
    world.assert_exact()
