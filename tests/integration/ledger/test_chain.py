"""The audit of a warehouse that somebody has been at: on a real log, rows that the sink wrote, and SQL."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete
from aiokafka.structs import TopicPartition

from deploy.local.stack import EmbeddedStack
from services.ledger.chain import beginning
from shared.contracts import topics
from shared.contracts.events import encode
from shared.contracts.identity import partition_of
from shared.kafka.admin import ensure_topics
from shared.kafka.connection import client_arguments
from shared.warehouse import tables
from shared.warehouse.schema import ensure_warehouse
from tests.integration.sink.world import PROJECT, World
from tests.unit.sink.records import PARTITIONS, decision

TABLE = f"`{PROJECT}.{tables.DECISIONS.id}`"
KEPT = f"`{PROJECT}.{tables.DECISIONS.dataset}.kept`"
CUSTOMER = "cust_000001"
HOME = partition_of(CUSTOMER.encode(), PARTITIONS)
COUNT = 40
"""Decisions of the one customer: offsets 0 to 39 of his partition."""
FORGED = hashlib.sha256(b"forged").hexdigest()


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("ledger")
    with EmbeddedStack(folder / "stack") as stack:
        world = World(stack, folder)
        asyncio.run(ensure_topics(world.kafka))
        ensure_warehouse(world.bigquery)

        async def settle() -> None:
            made = [encode(decision(number, customer_id=CUSTOMER)) for number in range(COUNT)]
            for part in (made[:15], made[15:]):  # by two processes, one after the other
                await world.send((topics.DECISIONS, value, CUSTOMER, None) for value in part)
                async with world.sink() as sink:
                    await sink.ready()
                    await world.caught_up()
            world.assert_exact()

        asyncio.run(settle())
        yield world


def audited(world: World, report: Path, **settings: str) -> dict[str, Any]:
    """The report of `python -m services.ledger`. No purchases stand behind these decisions: only P3 is looked at."""
    done = subprocess.run(
        [sys.executable, "-m", "services.ledger"],
        env={
            **os.environ,
            **world.environment(),
            "LEDGER__SETTLE_SECONDS": "0",
            "LEDGER__SCORER_URL": "",
            "LEDGER__REPORT": str(report),
            **settings,
        },
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode in (0, 1, 3), done.stderr
    found: dict[str, Any] = json.loads(report.read_text())
    return found


@contextmanager
def restored(world: World) -> Iterator[None]:
    """Whatever is done to the decisions there is undone at the end."""
    world.query(f"CREATE OR REPLACE TABLE {KEPT} AS SELECT * FROM {TABLE}")
    try:
        yield
    finally:
        world.query(f"DELETE FROM {TABLE} WHERE TRUE")
        world.query(f"INSERT INTO {TABLE} SELECT * FROM {KEPT}")


def relinked(world: World, first: int) -> None:
    """All links from there on made anew, as whoever knows the rule can."""
    rows = world.query(
        f"SELECT kafka_offset, record_sha256 FROM {TABLE} WHERE kafka_partition = {HOME} ORDER BY kafka_offset"
    )
    link = beginning(HOME)
    for offset, sha256 in rows:
        link = hashlib.sha256(f"{link}:{offset}:{sha256}".encode()).hexdigest()
        if isinstance(offset, int) and offset >= first:
            world.query(f"UPDATE {TABLE} SET chain_sha256 = '{link}' WHERE {at(offset)}")


def at(offset: int) -> str:
    return f"kafka_partition = {HOME} AND kafka_offset = {offset}"


def test_a_warehouse_that_nobody_touched_balances_and_its_last_link_is_told(world: World, tmp_path: Path) -> None:
    report = audited(world, tmp_path / "ledger.json")
    assert report["invariants"]["P3"]["balanced"], report["invariants"]["P3"]
    assert world.query(auditors_own_query()) == []
    chain = report["chain"][f"risk-decisions-{HOME}"]
    ((link,),) = world.query(f"SELECT chain_sha256 FROM {TABLE} WHERE {at(COUNT - 1)}")
    assert chain == {
        "older_rows": 0, "begins": 0, "links": COUNT, "beside": 0, "last": {"offset": COUNT - 1, "chain_sha256": link},
    }  # fmt: skip


def inserted(offset: int, sha256: str, link: str) -> str:
    names = [column.name for column in tables.DECISIONS.columns]
    new = {"kafka_offset": str(offset), "record_sha256": f"'{sha256}'", "chain_sha256": link, "record_json": "NULL"}
    return (
        f"INSERT INTO {TABLE} ({', '.join(names)}) SELECT {', '.join(new.get(name, name) for name in names)}"
        f" FROM {TABLE} WHERE {at(0)}"
    )


TAMPERED = {
    f"UPDATE {TABLE} SET decision = 'approve' WHERE {at(7)}": f"({HOME}, 7) says something else",
    f"UPDATE {TABLE} SET reasons = PARSE_JSON('[]') WHERE {at(8)}": f"({HOME}, 8) says something else",
    f"UPDATE {TABLE} SET record_json = REPLACE(record_json, 'review', 'decline') WHERE {at(9)}":
        f"record_json of risk-decisions ({HOME}, 9)",
    f"UPDATE {TABLE} SET record_sha256 = '{FORGED}' WHERE {at(14)}": f"breaks between ({HOME}, 13) and ({HOME}, 14)",
    f"DELETE FROM {TABLE} WHERE {at(22)}": f"breaks between ({HOME}, 21) and ({HOME}, 23)",
    inserted(-1, FORGED, "NULL"): f"a row of risk-decisions ({HOME}, -1) that neither",
    inserted(-2, FORGED, f"TO_HEX(SHA256('{beginning(HOME)}:-2:{FORGED}'))"):
        f"a row of risk-decisions ({HOME}, -2) that neither",
}  # fmt: skip
"""What somebody does, and what is told of it."""


def test_rows_that_were_changed_removed_or_inserted_are_named(world: World, tmp_path: Path) -> None:
    with restored(world):
        for sql in TAMPERED:
            world.query(sql)
        told = audited(world, tmp_path / "ledger.json")["invariants"]["P3"]
        found = world.query(auditors_own_query())
    for named in TAMPERED.values():
        assert any(named in each for each in told["examples"]), (named, told)
    # The changed hash is neither the record's nor that of the bytes beside it, 22 has no row, and the two that were put
    # in have no record.
    assert told["violations"] == len(TAMPERED) + 5
    assert found == [(HOME, offset) for offset in (0, 9, 14, 23)]  # 0 doesn't follow what was put in before it


def auditors_own_query() -> str:
    """The one in the documentation, for whoever has the table and nothing of ours."""
    page = Path("docs/operations/evidence.md").read_text()
    (query,) = [block.partition("```")[0] for block in page.split("```sql")[1:] if "LAG(" in block]
    return query.replace("flit_ml_raw.", f"{PROJECT}.flit_ml_raw.")


def test_a_chain_made_anew_over_a_changed_record_is_told_by_the_log_and_by_an_earlier_report(
    world: World, tmp_path: Path
) -> None:
    earlier = tmp_path / "earlier.json"
    assert audited(world, earlier)["invariants"]["P3"]["balanced"]
    with restored(world):
        world.query(
            f"UPDATE {TABLE} SET record_json = REPLACE(record_json, 'review', 'decline'),"
            f" record_sha256 = TO_HEX(SHA256(REPLACE(record_json, 'review', 'decline'))), decision = 'decline'"
            f" WHERE {at(20)}"
        )
        relinked(world, 20)
        told = audited(world, tmp_path / "ledger.json", LEDGER__EARLIER_REPORT=str(earlier))["invariants"]["P3"]
    assert any(f"record_sha256 of risk-decisions ({HOME}, 20)" in each for each in told["examples"]), told
    assert any(f"({HOME}, {COUNT - 1}) that an earlier audit saw" in each for each in told["examples"]), told
    assert not any("breaks" in each for each in told["examples"])


@pytest.mark.slow
def test_where_the_log_is_gone_a_row_is_still_held_to_its_record_and_the_record_to_the_chain(
    world: World, tmp_path: Path
) -> None:
    earlier = tmp_path / "earlier.json"
    audited(world, earlier)
    asyncio.run(expire(world, 30))
    report = audited(world, tmp_path / "ledger.json", LEDGER__EARLIER_REPORT=str(earlier))
    assert report["expired"] == {topics.DECISIONS.name: 30}
    assert report["invariants"]["P3"]["violations"] == 0, report["invariants"]["P3"]
    told_of = {
        f"UPDATE {TABLE} SET decision = 'approve' WHERE {at(3)}": "3) says something else than its record",
        f"UPDATE {TABLE} SET features = PARSE_JSON('{{}}') WHERE {at(4)}": "4) says something else than its record",
        f"DELETE FROM {TABLE} WHERE {at(8)}": f"breaks between ({HOME}, 7) and ({HOME}, 9)",
    }
    with restored(world):
        for sql in told_of:
            world.query(sql)
        told = audited(world, tmp_path / "ledger.json")["invariants"]["P3"]
    for named in told_of.values():
        assert any(named in each for each in told["examples"]), (named, told)
    assert told["violations"] == len(told_of)


async def expire(world: World, first: int) -> None:
    """As retention does: the log begins there."""
    admin = AIOKafkaAdminClient(**client_arguments(world.kafka))
    await admin.start()
    try:
        await admin.delete_records({TopicPartition(topics.DECISIONS.name, HOME): RecordsToDelete(first)})
    finally:
        await admin.close()
