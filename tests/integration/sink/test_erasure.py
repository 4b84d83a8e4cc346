"""One customer is erased: nothing of him is left in Redis and warehouse, and everybody else's is as it was."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
import redis

from services.sink import erasure_log
from services.sink.load import PLACES
from services.sink.pipeline import rows_of
from shared.claim_keys import COMPLETE, HEAD_BYTES, key_of
from shared.contracts import topics
from shared.contracts.identity import partition_of
from shared.warehouse import tables
from shared.warehouse.clients import bigquery_client
from shared.warehouse.columns import Row, Table
from shared.warehouse.loading import load_rows
from tests.factories import transaction_bytes
from tests.integration.sink.world import PROJECT, RULES, World
from tests.unit.sink.records import PARTITIONS, letter_bytes, one_of_each, record

GOES, STAYS = "cust_leaving-0a1b2c3d", "cust_staying-0a1b2c3d"
NUMBERS = {GOES: range(90_000, 90_003), STAYS: range(90_003, 90_006)}
SIGNS = {GOES: "leaving", STAYS: "staying"}


def life(number: int, customer: str) -> Iterator[tuple[topics.Topic, bytes, str, None]]:
    """All that becomes of one purchase, a refused record with its whole body included."""
    purchase = transaction_bytes(
        number,
        customer_id=customer,
        transaction_id=f"{SIGNS[customer]}_{number}",
        device={"id": f"{SIGNS[customer]}_device_1"},
        payment={"method_id": f"{SIGNS[customer]}_pm_3"},
    )
    values = one_of_each(number, customer)
    values |= {topics.TRANSACTIONS: purchase, topics.DEAD_LETTERS: letter_bytes(number, purchase, partition=-1)}
    for topic, value in values.items():
        yield topic, value, customer, None


def loaded_letter(number: int, customer: str) -> Row:
    """A refused line of a history that was loaded in bulk: it has no place in Kafka."""
    line = transaction_bytes(number, customer_id=customer)
    ((_, row),) = rows_of(record(topics.DEAD_LETTERS, letter_bytes(number, line), key="other"), RULES)
    return {name: value for name, value in row.items() if name not in PLACES} | {"load_id": "past#2026-06-01"}


TAKEN = f"event-{NUMBERS[GOES][0]}"
"""An event id of his, under which another customer's purchase was decided."""


def claim_of(customer: str) -> bytes:
    return bytes(HEAD_BYTES) + json.dumps({"customer_id": customer}).encode()


@pytest.fixture(scope="module")
def erased(world: World) -> World:
    """Both customers' lives are in Redis and the warehouse; then one of them is erased."""

    async def settle() -> None:
        records = [record for name, numbers in NUMBERS.items() for number in numbers for record in life(number, name)]
        await world.send(records)
        await world.judge_all()
        await take_in(world)
        async with world.sink() as sink:
            await sink.ready()
            await world.caught_up()

    asyncio.run(settle())
    with redis.Redis.from_url(world.stack.valkey.url) as client:
        client.set(COMPLETE, "1")
        for name, numbers in NUMBERS.items():
            client.set(f"{{p{partition_of(name.encode(), PARTITIONS)}}}:c:{name}", b"a state")
            for number in numbers:
                client.set(key_of(f"event-{number}"), claim_of(name))
        client.set(key_of(TAKEN), claim_of(STAYS))
    done = erase(world, GOES)
    assert done.returncode == 0, done.stderr + done.stdout
    return world


async def take_in(world: World) -> None:
    await world.commit("features", topics.TRANSACTIONS, topics.OUTCOMES)
    await world.commit("scorer", topics.FEATURES)


def erase(world: World, customer_id: str, *options: str) -> subprocess.CompletedProcess[str]:
    return run(world, "erase", *options, line=customer_id)


def run(world: World, *arguments: str, line: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "services.sink", *arguments],
        input=f"{line}\n",
        env={**os.environ, **world.environment()},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def cells(world: World, table: Table) -> str:
    """All that the table holds, letters' bytes readable."""
    columns = ", ".join(
        f"SAFE_CONVERT_BYTES_TO_STRING(FROM_BASE64({column.name}))"
        if column.name.endswith("_base64")
        else f"CAST({column.name} AS STRING)"
        if column.type != "JSON"
        else f"TO_JSON_STRING({column.name})"
        for column in table.columns
    )
    rows = world.query(f"SELECT {columns} FROM `{{project}}.{table.id}` WHERE {table.partition_by} >= '0001-01-01'")
    return repr(rows)


@pytest.mark.parametrize("table", tables.ALL, ids=lambda table: table.id)
def test_no_table_tells_of_the_erased_customer_and_each_still_tells_of_the_other(erased: World, table: Table) -> None:
    told = cells(erased, table)
    assert SIGNS[GOES] not in told
    if table in tables.STREAMED:
        assert SIGNS[STAYS] in told


def test_the_rows_stay_with_event_decision_amounts_and_place(erased: World) -> None:
    ids = ", ".join(f"'event-{number}'" for number in NUMBERS[GOES])
    amounts = erased.query(
        f"SELECT CAST(amount AS FLOAT64), currency, customer_id, customer_state, device_id "
        f"FROM `{{project}}.{tables.TRANSACTIONS.id}` WHERE event_id IN ({ids}) AND kafka_offset IS NOT NULL"
    )
    assert amounts == [(67.51, "USD", None, None, None)] * 3
    decisions = erased.query(
        f"SELECT decision, expected_loss, TO_JSON_STRING(features) "
        f"FROM `{{project}}.{tables.DECISIONS.id}` WHERE event_id IN ({ids})"
    )
    assert decisions == [("review", 2.53, "{}")] * 3


async def test_the_accounts_of_log_and_warehouse_balance_as_before(erased: World) -> None:
    assert all(balance.balanced for balance in await erased.balances())
    erased.assert_exact()


def test_his_state_and_claims_are_gone_from_redis_and_no_one_elses(erased: World) -> None:
    with redis.Redis.from_url(erased.stack.valkey.url) as client:
        keys = {key.decode() for key in client.scan_iter(count=1000)}
    claims = {name: {key_of(f"event-{number}") for number in numbers} for name, numbers in NUMBERS.items()}
    assert keys & claims[GOES] == {key_of(TAKEN)}, "that decision is about somebody else"
    assert claims[STAYS] <= keys
    assert not [key for key in keys if GOES in key]
    assert [key for key in keys if key.endswith(f":c:{STAYS}")]


def test_no_model_learns_from_the_erased_customer(erased: World) -> None:
    learnt = erased.query("SELECT event_id FROM `{project}.flit_ml.training_examples`")
    events = {event for (event,) in learnt}
    assert not events & {f"event-{number}" for number in NUMBERS[GOES]}
    assert {f"event-{number}" for number in NUMBERS[STAYS]} <= events


def test_a_second_run_finds_nothing_more_and_both_left_a_record_without_the_id(erased: World) -> None:
    done = erase(erased, GOES)
    assert done.returncode == 0, done.stderr
    assert "Redis: 0 state(s), 0 claim(s) and 0 account(s) deleted" in done.stdout
    assert f"topic {topics.DECISIONS.name}: still holds 3 record(s)" in done.stdout
    assert SIGNS[GOES] not in done.stdout + done.stderr
    records = erased.query(
        f"SELECT complete, states, claims, TO_JSON_STRING(rows_emptied), TO_JSON_STRING(topics) "
        f"FROM `{PROJECT}.{tables.ERASURES.id}` ORDER BY erased_at"
    )
    first, last = records[0], records[-1]
    assert first[:3] == (True, 1, 2)
    assert json.loads(str(first[3])) == {table.id: 3 for table in tables.STREAMED}
    assert last[:3] == (True, 0, 0)
    assert set(json.loads(str(last[3])).values()) == {0}
    assert json.loads(str(last[4])) == {topic.name: 3 for topic in topics.ALL}


def test_what_a_service_has_still_to_take_in_leaves_the_erasure_unfinished_until_it_has(erased: World) -> None:
    """It would bring him back: into a state, an account, a claim, and from there into topics and rows."""
    late = list(life(90_020, GOES))

    async def written() -> None:
        await erased.send(late)
        await erased.judge_all()
        async with erased.sink() as sink:
            await sink.ready()
            await erased.caught_up()

    asyncio.run(written())
    done = erase(erased, GOES, "--wait", "1")
    assert done.returncode == 3, done.stdout + done.stderr
    for topic in (topics.TRANSACTIONS, topics.OUTCOMES):
        assert f"left: {topic.name}: flit-features has still to take in records of it, in 1 partition(s)" in done.stdout
    assert f"left: {topics.FEATURES.name}: flit-scorer has still to decide on records of it" in done.stdout
    asyncio.run(take_in(erased))
    done = erase(erased, GOES)
    assert done.returncode == 0, done.stdout + done.stderr


async def test_a_record_that_is_sent_again_to_its_own_partition_is_waited_for_as_well(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It lay elsewhere when the topic was read; by the time that features has seen it there, it lies at home too."""
    who = "cust_misplaced-0a1b2c3d"
    home = partition_of(who.encode(), PARTITIONS)
    body = transaction_bytes(90_030, customer_id=who)
    await world.send([(topics.TRANSACTIONS, body, who, (home + 1) % PARTITIONS)])
    waiting, services = erasure_log._wait_for, []

    async def wait_for(admin: Any, service: str, *others: Any) -> None:
        if service not in services:
            services.append(service)
            if service == "features":
                await world.send([(topics.TRANSACTIONS, body, who, home)])
        await waiting(admin, service, *others)

    monkeypatch.setattr(erasure_log, "_wait_for", wait_for)
    found = await erasure_log.traces(world.kafka, [who], 0.0)
    assert found.held[topics.TRANSACTIONS.name].last.keys() == {home, (home + 1) % PARTITIONS}
    assert (
        "flit-features has still to take in records of it, in 2 partition(s)"
        in found.waited_for[topics.TRANSACTIONS.name]
    )


def test_while_states_or_claims_are_made_anew_from_the_topics_the_erasure_is_unfinished(erased: World) -> None:
    partition = partition_of(GOES.encode(), PARTITIONS)
    with redis.Redis.from_url(erased.stack.valkey.url) as client:
        client.set(f"{{p{partition}}}:rebuilding", "5,5")
        client.delete(COMPLETE)
        done = erase(erased, GOES)
        assert done.returncode == 3, done.stdout
        assert f"left: states: those of partition {partition} are being rebuilt" in done.stdout
        assert "left: claims: they are being restored" in done.stdout
        client.delete(f"{{p{partition}}}:rebuilding")
        client.set(COMPLETE, "1")
    assert erase(erased, GOES).returncode == 0


def test_rows_that_are_still_to_be_written_leave_the_erasure_unfinished_until_it_is_run_again(erased: World) -> None:
    late = list(life(90_010, GOES))
    asyncio.run(erased.send(late))
    asyncio.run(erased.judge_all())
    done = erase(erased, GOES, "--wait", "0")
    assert done.returncode == 3, done.stderr
    assert "NOT FINISHED" in done.stdout

    async def written() -> None:
        await take_in(erased)
        async with erased.sink() as sink:
            await sink.ready()
            await erased.caught_up()

    asyncio.run(written())
    done = erase(erased, GOES)
    assert done.returncode == 0, done.stdout
    assert all(SIGNS[GOES] not in cells(erased, table) for table in tables.STREAMED)


MENDED = (tables.RAW_TRANSACTIONS, tables.TRANSACTIONS, tables.DECISIONS)


async def test_a_repair_of_his_rows_does_not_bring_back_what_was_erased(erased: World) -> None:
    where = f"event_id = 'event-{NUMBERS[GOES][0]}'"
    for table in MENDED:
        erased.query(f"DELETE FROM `{PROJECT}.{table.id}` WHERE {table.partition_by} >= '0001-01-01' AND {where}")
    repaired = run(erased, "repair")
    assert f"0 rows deleted, {len(MENDED)} written" in repaired.stdout, repaired.stdout + repaired.stderr
    for table in MENDED:
        assert SIGNS[GOES] not in cells(erased, table)
    erased.assert_exact()


def test_without_an_id_nothing_is_done(erased: World) -> None:
    assert erase(erased, "").returncode == 2


@pytest.mark.parametrize("command", ["erase", "repair"])
@pytest.mark.parametrize(
    "setting", [{"KAFKA__PARTITIONS": str(PARTITIONS + 1)}, {"PRIVACY__PSEUDONYM_KEY": "k" * 64}], ids=["count", "key"]
)
def test_a_command_with_the_settings_of_another_system_says_so_and_does_nothing(
    erased: World, command: str, setting: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would look where nothing lies, find nothing, and say that all is done."""
    with redis.Redis.from_url(erased.stack.valkey.url) as client:
        client.set("flit:partitions", PARTITIONS)
    environment = erased.environment()
    monkeypatch.setattr(erased, "environment", lambda: environment | setting)
    done = run(erased, command, line=STAYS)
    assert done.returncode == 2, done.stderr
    assert "bad setting: states were made with" in done.stderr


def test_letters_that_were_loaded_in_bulk_are_emptied_too(erased: World) -> None:
    """The last of these: rows that no record brought are none that the sink is to account for."""
    letters = [loaded_letter(number, name) for number, name in ((90_010, "cust_archived"), (90_011, "cust_beside"))]
    load_rows(bigquery_client(erased.bigquery), tables.DEAD_LETTERS, letters, key="letters", present=lambda: False)
    done = erase(erased, "cust_archived")
    assert done.returncode == 0, done.stderr + done.stdout
    told = cells(erased, tables.DEAD_LETTERS)
    assert "cust_archived" not in told
    assert "cust_beside" in told
