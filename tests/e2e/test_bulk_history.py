"""The same ten days twice, through the topics and in bulk: the same rows, features and states, Kafka's places apart."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import pytest
import redis
from google.cloud import bigquery

from deploy.local.ports import free_ports
from deploy.local.processes import ManagedProcess
from deploy.local.services import Service
from services.ledger.log_reader import LogReader
from shared.archive import days_of, runs_of
from shared.contracts.topics import DECISIONS
from shared.warehouse import tables
from shared.warehouse.clients import bigquery_client
from shared.warehouse.columns import Table
from tests.e2e.system import Log, System, until

DAYS = ("--start", "2026-06-01", "--end", "2026-06-10", "--daily", "150", "--seed", "7", "--generator", "bnpl_history")
LIVE = 200
KILLS = 3
"""Of each step. At its full size, `test_backfill_at_size` kills the whole of it five times."""
OF_KAFKA = {
    "kafka_topic", "kafka_partition", "kafka_offset", "kafka_timestamp", "_ingestion_timestamp", "load_id",
    "load_partition", "load_row", "as_of_transactions", "as_of_outcomes", "computed_at",
}  # fmt: skip
COMPARED = (tables.RAW_TRANSACTIONS, tables.TRANSACTIONS, tables.OUTCOMES, tables.FEATURES)


@pytest.fixture(scope="module")
def streamed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    with System(tmp_path_factory.mktemp("streamed"), ("simulator", "features", "sink")) as system:
        run(system, "services.ingestor", "backfill", *DAYS)
        asyncio.run(all_taken_in(system))
        yield system


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    """In bulk, each step killed on its way now and then; and no service runs that would make states of it."""
    with System(tmp_path_factory.mktemp("loaded"), ("simulator", "scorer", "sink")) as system:
        archive, dice = system.data_dir / "archive", Random(1)
        for _ in range(KILLS):
            killed(system, dice, "services.ingestor", "backfill", *DAYS, "--to", str(archive))
        run(system, "services.ingestor", "backfill", *DAYS, "--to", str(archive))
        for _ in range(KILLS):
            killed(system, dice, "services.sink", "load", str(archive))
        run(system, "services.sink", "load", str(archive))
        for _ in range(KILLS):
            killed(system, dice, "services.trainer", "reprocess")
        run(system, "services.trainer", "reprocess")
        rebuild(system)
        yield system


def run(system: System, module: str, *arguments: str, **settings: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", module, *arguments],
        env={**system.environment, **settings}, check=False, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr + done.stdout
    return done.stdout


def killed(system: System, dice: Random, module: str, *arguments: str) -> None:
    """Begin a step, and end it without a word somewhere."""
    with subprocess.Popen(
        [sys.executable, "-m", module, *arguments],
        env=system.environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
    ) as process:  # fmt: skip
        time.sleep(dice.uniform(0.5, 4.0))  # not a wait for anything: the moment is what varies
        process.send_signal(signal.SIGKILL)


def rebuild(system: System) -> None:
    run(system, "services.features", "rebuild", FEATURES__LOADED_HISTORY="true")


async def all_taken_in(system: System) -> None:
    async with LogReader({"bootstrap_servers": system.stack.kafka.bootstrap_servers}) as reader:
        for group, topics in (
            ("flit-features", ("bnpl-transactions", "bnpl-outcomes")),
            ("flit-sink", ("bnpl-transactions", "bnpl-outcomes", "bnpl-features")),
        ):
            ends = {place: end for topic in topics for place, end in (await reader.ends(topic)).items()}
            assert not await reader.caught_up(group, ends, time.monotonic() + 120)


def rows(system: System, table: Table) -> list[dict[str, Any]]:
    """Without what says where each came from, in an order of their own."""
    client = warehouse(system)
    try:
        found = [
            {name: value for name, value in row.items() if name not in OF_KAFKA}
            for row in client.list_rows(f"{client.project}.{table.id}")
        ]
    finally:
        client.close()
    return sorted(found, key=lambda row: str(row["event_id"]))


def warehouse(system: System) -> bigquery.Client:
    return bigquery_client(system.stack.bigquery.settings)


def states(system: System) -> dict[bytes, bytes]:
    client = redis.Redis.from_url(system.stack.valkey.url)
    try:
        keys = sorted(client.scan_iter("{p*}:c:*", count=1000))
        return dict(zip(keys, client.mget(keys), strict=True))
    finally:
        client.close()


def records(system: System) -> int:
    (run_folder,) = runs_of(system.data_dir / "archive")
    return sum(day.seal.records["bnpl-transactions"] for day in days_of(run_folder))


@pytest.mark.parametrize("table", COMPARED, ids=lambda table: table.name)
def test_both_ways_lead_to_the_same_rows(streamed: System, loaded: System, table: Table) -> None:
    by_stream, in_bulk = rows(streamed, table), rows(loaded, table)
    assert len(in_bulk) == len(by_stream) > 1000
    assert in_bulk == by_stream


def test_both_ways_lead_to_the_same_states(streamed: System, loaded: System) -> None:
    by_stream, in_bulk = states(streamed), states(loaded)
    assert len(by_stream) > 100
    assert in_bulk == by_stream


def test_a_second_run_of_each_step_adds_nothing(loaded: System) -> None:
    archive = loaded.data_dir / "archive"
    before = {table.id: len(rows(loaded, table)) for table in COMPARED}
    run(loaded, "services.ingestor", "backfill", *DAYS, "--to", str(archive))
    run(loaded, "services.sink", "load", str(archive))
    again = json.loads(run(loaded, "services.trainer", "reprocess"))
    assert (again["written"], again["present"], again["inexact"]) == (0, records(loaded), 0)
    assert {table.id: len(rows(loaded, table)) for table in COMPARED} == before


def test_dask_makes_the_same_features(loaded: System) -> None:
    by_processes = rows(loaded, tables.FEATURES)
    client = warehouse(loaded)
    try:
        client.query(f"DELETE FROM `{client.project}.{tables.FEATURES.id}` WHERE load_id IS NOT NULL").result()
    finally:
        client.close()
    made = json.loads(run(loaded, "services.trainer", "reprocess", "--engine", "dask", "--workers", "2"))
    assert made["written"] == len(by_processes)
    assert rows(loaded, tables.FEATURES) == by_processes


def test_the_stream_goes_on_from_what_was_loaded_and_the_ledger_balances(loaded: System) -> None:
    (port,) = free_ports(1)
    service = Service("features", port, environment={"FEATURES__LOADED_HISTORY": "true"})
    features = ManagedProcess(
        "features", service.command, log_file=loaded.data_dir / "logs" / "features.log",
        environment=service.full_environment(loaded.supervisor.environment),
    )  # fmt: skip
    features.start()
    try:
        features.wait_until(service.ready, 60)
        run(
            loaded,
            "services.ingestor",
            "live",
            "--rate",
            "100",
            "--max-events",
            str(LIVE),
            "--generator",
            "bnpl_history",
        )
        log = Log(loaded.stack.kafka.bootstrap_servers)

        async def decided() -> bool:
            return await log.count(DECISIONS.name) >= LIVE

        asyncio.run(until(decided, "decisions on live purchases"))
        report = loaded.ledger()
    finally:
        features.stop()
    assert report["balanced"], report
    assert with_a_past(loaded) > LIVE / 10


def with_a_past(system: System) -> int:
    """Decisions on people who had bought before the first record of the log."""
    client = warehouse(system)
    try:
        found = client.query(
            f"SELECT COUNT(DISTINCT t.event_id) AS n FROM `{client.project}.{tables.TRANSACTIONS.id}` AS t"
            f" JOIN `{client.project}.{tables.TRANSACTIONS.id}` AS l ON l.customer_id = t.customer_id"
            " WHERE t.kafka_topic IS NOT NULL AND l.load_id IS NOT NULL"
        )
        return int(next(iter(found.result())).n)
    finally:
        client.close()


def test_people_who_have_bought_through_the_stream_get_no_past_behind_their_backs(
    loaded: System, tmp_path: Path
) -> None:
    other = tmp_path / "archive"
    days = (
        "--start",
        "2026-06-01",
        "--end",
        "2026-06-01",
        "--daily",
        "150",
        "--seed",
        "8",
        "--generator",
        "bnpl_history",
    )
    run(loaded, "services.ingestor", "backfill", *days, "--to", str(other))
    refused = subprocess.run(
        [sys.executable, "-m", "services.sink", "load", str(other)],
        env=loaded.environment, check=False, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert refused.returncode == 1
    assert "have bought through the stream already" in refused.stdout + refused.stderr
