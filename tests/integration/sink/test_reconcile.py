"""The reconciliation tells a missing row and a doubled one from a balanced warehouse."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest
from google.cloud.bigquery_storage_v1 import BigQueryWriteClient

from services.sink import repair as repair_module
from services.sink.chain import chained
from services.sink.pipeline import rows_of
from services.sink.reconcile import reconcile as compared
from services.sink.repair import Repaired, repair
from shared.contracts import topics
from shared.contracts.transactions import Limits
from shared.feature_state import FeatureStateStore
from shared.warehouse import tables
from shared.warehouse.clients import bigquery_client
from shared.warehouse.columns import Table
from shared.warehouse.writing import write_client
from tests.factories import transaction_bytes
from tests.integration.sink.world import PROJECT, RULES, World, until
from tests.integration.warehouse.rows import append
from tests.unit.sink.records import letter_bytes, one_of_each, record


@pytest.fixture(scope="module")
def settled(world: World) -> World:
    """All of the log is in the warehouse."""

    async def settle() -> None:
        await world.send_lives(20)
        await world.judge_all()
        async with world.sink() as sink:
            await sink.ready()
            await world.caught_up()

    asyncio.run(settle())
    return world


@contextmanager
def restored(world: World, where: str) -> Iterator[str]:
    """The table's name; whatever is done to its rows there is undone at the end."""
    name = f"`{PROJECT}.{tables.DECISIONS.id}`"
    kept = f"`{PROJECT}.{tables.DECISIONS.dataset}.kept`"
    world.query(f"CREATE OR REPLACE TABLE {kept} AS SELECT * FROM {name} WHERE {where}")
    try:
        yield name
    finally:
        world.query(f"DELETE FROM {name} WHERE {where}")
        world.query(f"INSERT INTO {name} SELECT * FROM {kept}")
        world.query(f"DROP TABLE {kept}")


def reconcile(world: World) -> subprocess.CompletedProcess[str]:
    return command(world, "reconcile")


def command(world: World, *name: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "services.sink", *name],
        env={**os.environ, **world.environment(), "COLUMNS": "160"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


async def test_a_balanced_warehouse_is_called_balanced(settled: World) -> None:
    balances = await settled.balances()
    assert all(balance.balanced and balance.behind == 0 for balance in balances), balances
    for table in tables.STREAMED:
        mine = [balance for balance in balances if balance.table == table.id]
        log = [place for place in settled.written if place[0] == table.topic]
        assert sum(balance.records for balance in mine) == len(log)
        assert sum(balance.rows for balance in mine) == len(set(log) - settled.without_row)
    done = reconcile(settled)
    assert done.returncode == 0, done.stderr
    assert "every record has its row" in done.stdout
    recent, none = command(settled, "reconcile", "--days", "1"), command(settled, "reconcile", "--days", "0")
    assert recent.stdout == done.stdout
    assert (none.returncode, "flit_" in none.stdout) == (0, False)


async def test_a_row_that_is_missing_is_found(settled: World) -> None:
    _, partition, offset = next(place for place in settled.written if place[0] == topics.DECISIONS.name)
    if (topics.DECISIONS.name, partition, offset) in settled.without_row:
        pytest.fail("the first decision was meant to have a row")
    where = f"kafka_partition = {partition} AND kafka_offset = {offset}"
    with restored(settled, where) as table:
        settled.query(f"DELETE FROM {table} WHERE {where}")
        done = reconcile(settled)
        faults = {(b.table, b.partition): b.missing for b in await settled.balances() if not b.balanced}
    assert faults == {(tables.DECISIONS.id, partition): [offset]}
    assert done.returncode == 1
    assert f"1 missing: {offset}" in done.stdout


async def test_a_row_that_is_there_twice_is_found(settled: World) -> None:
    _, partition, offset = next(place for place in settled.written if place[0] == topics.DECISIONS.name)
    where = f"kafka_partition = {partition} AND kafka_offset = {offset}"
    with restored(settled, where) as table:
        settled.query(f"INSERT INTO {table} SELECT * FROM {table} WHERE {where}")
        faults = {(b.table, b.partition): b.doubled for b in await settled.balances() if not b.balanced}
    assert faults == {(tables.DECISIONS.id, partition): [offset]}
    assert all(balance.balanced for balance in await settled.balances())


async def test_a_row_of_a_refused_record_is_found(settled: World) -> None:
    ((_, partition, offset),) = await settled.send([(topics.DECISIONS, b"{", "cust_000001", None)], rows=False)
    async with settled.sink() as sink:
        await sink.ready()
        await settled.caught_up()
    first = next(place for place in settled.written if place[0] == topics.DECISIONS.name)
    columns = [column.name for column in tables.DECISIONS.columns if column.name not in tables.BY_PLACE]
    with restored(settled, f"kafka_partition = {partition} AND kafka_offset = {offset}") as table:
        settled.query(
            f"INSERT INTO {table} ({', '.join(columns)}, kafka_partition, kafka_offset) "
            f"SELECT {', '.join(columns)}, {partition}, {offset} FROM {table} "
            f"WHERE kafka_partition = {first[1]} AND kafka_offset = {first[2]}"
        )
        faults = {(b.table, b.partition): b.unexpected for b in await settled.balances() if not b.balanced}
    assert faults == {(tables.DECISIONS.id, partition): [offset]}


async def test_limits_that_are_others_by_now_neither_make_rows_of_what_was_refused_nor_take_those_of_what_was_not(
    settled: World,
) -> None:
    customer = "cust_000001"
    large = transaction_bytes(9_500, customer_id=customer, amount=150_000.0)
    ((_, partition, offset),) = await settled.send([(topics.TRANSACTIONS, large, customer, None)], rows=False)
    letter = letter_bytes(offset, large, partition=partition)
    await settled.send([(topics.DEAD_LETTERS, letter, customer, None)])
    await settled.judge_all()
    await settled.commit("features", topics.TRANSACTIONS, topics.OUTCOMES)
    async with settled.sink(LIMITS__MAX_AMOUNT="200000") as sink:  # as the features service had it no longer refused
        await sink.ready()
        await settled.caught_up()
    settled.assert_exact()
    store = FeatureStateStore.connect(settled.stack.valkey.url)
    client, writes = bigquery_client(settled.bigquery), write_client(settled.bigquery)
    try:
        for limit in (200_000.0, 1.0):
            rules = replace(RULES, limits=Limits(max_amount=limit))
            assert await repair(settled.kafka, client, writes, store, rules) == Repaired(0, 0)
            balances = await compared(settled.kafka, client, store, rules)
            assert all(balance.balanced for balance in balances), balances
    finally:
        await store.close()
    settled.assert_exact()


async def test_a_repair_writes_what_is_missing_and_deletes_what_is_too_much(settled: World) -> None:
    places = [place for place in settled.written if place[0] == topics.DECISIONS.name]
    places = [place for place in places if place not in settled.without_row]
    (_, partition, missing), (_, also, doubled) = places[0], places[1]
    name = f"`{PROJECT}.{tables.DECISIONS.id}`"
    before = settled.query(f"SELECT * FROM {name} ORDER BY kafka_partition, kafka_offset")
    settled.query(f"DELETE FROM {name} WHERE kafka_partition = {partition} AND kafka_offset = {missing}")
    settled.query(
        f"INSERT INTO {name} SELECT * FROM {name} WHERE kafka_partition = {also} AND kafka_offset = {doubled}"
    )
    done = command(settled, "repair")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "2 rows deleted, 2 written" in done.stdout
    assert all(balance.balanced for balance in await settled.balances())
    after = settled.query(f"SELECT * FROM {name} ORDER BY kafka_partition, kafka_offset")
    assert after == before
    settled.assert_chained()
    assert "0 rows deleted, 0 written" in command(settled, "repair").stdout


class CutOff(Exception):
    """As if the process were killed."""


async def test_a_repair_in_many_windows_that_is_cut_off_goes_on_where_it_was(
    settled: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    await settled.send_lives(40)
    await settled.judge_all()
    async with settled.sink() as sink:
        await sink.ready()
        await settled.caught_up()
    lost = (tables.RAW_TRANSACTIONS, tables.TRANSACTIONS, tables.DECISIONS)
    names = {table: f"`{PROJECT}.{table.id}`" for table in lost}
    order = "ORDER BY kafka_partition, kafka_offset"
    before = {table: settled.query(f"SELECT * FROM {name} WHERE {table.ever} {order}") for table, name in names.items()}
    for table, name in names.items():
        settled.query(f"DELETE FROM {name} WHERE {table.ever} AND kafka_offset != 2")
        settled.query(f"INSERT INTO {name} SELECT * FROM {name} WHERE {table.ever} AND kafka_offset = 2")
    monkeypatch.setattr("services.sink.reconcile.WINDOW", 3)
    written, sizes, really = 0, [], repair_module._write

    def write(writes: BigQueryWriteClient, table: Table, ready: repair_module._Ready) -> int:
        nonlocal written
        if written == 4:
            raise CutOff
        sizes.append(sum(batch.rows for batch in ready.batches))
        count = really(writes, table, ready)
        written += 1
        if written == 9:
            raise CutOff
        return count

    monkeypatch.setattr(repair_module, "_write", write)
    store = FeatureStateStore.connect(settled.stack.valkey.url)
    client, writes = bigquery_client(settled.bigquery), write_client(settled.bigquery)
    try:
        with pytest.raises(CutOff):  # what was deleted of its window isn't written
            await repair(settled.kafka, client, writes, store, RULES)
        written += 1
        with pytest.raises(CutOff):  # it is written, and nobody has heard of it
            await repair(settled.kafka, client, writes, store, RULES)
        await repair(settled.kafka, client, writes, store, RULES)
    finally:
        await store.close()
    assert max(sizes) == 3
    assert len(sizes) > 20
    for table, name in names.items():
        assert settled.query(f"SELECT * FROM {name} WHERE {table.ever} {order}") == before[table]
    settled.assert_exact()


@pytest.mark.slow
async def test_a_row_that_never_was_in_the_chain_is_repaired_beside_it(settled: World) -> None:
    name, customer = f"`{PROJECT}.{tables.DECISIONS.id}`", "cust_000001"
    values = [one_of_each(number, customer)[topics.DECISIONS] for number in (9_000, 9_001, 9_002)]
    places = await settled.send((topics.DECISIONS, value, customer, None) for value in values)
    _, partition, offset = places[0]
    before = settled.chains()[partition].last
    assert before is not None
    # As a sink leaves it that refuses the first of them: the second follows the row before that.
    records = [
        record(topics.DECISIONS, value, offset=place[2], key=customer, timestamp=settled.arrived_ms[place])
        for value, place in zip(values[1:], places[1:], strict=True)
    ]
    late = [rows_of(each, RULES)[0][1] for each in records]
    append(settled.bigquery, tables.DECISIONS, chained(late, before[1]))
    async with settled.sink() as sink:
        await sink.ready()
        await settled.caught_up()
    assert "0 rows deleted, 1 written" in command(settled, "repair").stdout
    found = settled.chains()[partition]
    assert (found.beside, found.breaks) == ([offset], [])
    settled.query(f"DELETE FROM {name} WHERE kafka_partition = {partition} AND kafka_offset >= {offset}")
    async with settled.sink() as sink:  # it goes on from what is there, and this time refuses nothing
        await sink.ready()

        async def written() -> bool:
            last = settled.chains()[partition].last
            return last is not None and last[0] == places[-1][2]

        await until(written, "all three rows are there again")
    settled.assert_exact()
