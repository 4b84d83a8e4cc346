"""The DAGs in Airflow's own environment: parsed, and run whole on a warehouse and a source of the test's own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path

import pytest
from google.cloud import bigquery

from deploy.local.bigquery import BigQuery
from deploy.local.environments import environment_of
from deploy.local.ports import free_ports
from deploy.local.processes import ManagedProcess
from deploy.local.services import Service
from shared.settings import BigQuerySettings
from shared.warehouse import tables, views
from shared.warehouse.clients import bigquery_client
from shared.warehouse.schema import ensure_warehouse

pytestmark = pytest.mark.airflow

FOLDER = Path(__file__).parents[2] / "deploy" / "airflow"
FIRST, DAYS, DAILY = date(2026, 3, 1), 125, 120
"""84 to mature, and enough behind them to learn from and to judge by."""
TASKS = ["read", "load", "features", "quality", "train", "evaluate", "drift"]
PATIENCE_S = 900


@dataclass(frozen=True)
class Rig:
    """Airflow with its own database, the project's commands, a source and a warehouse with a history."""

    environment: dict[str, str]
    airflow: Path
    warehouse: BigQuerySettings

    def run(self, *arguments: str) -> str:
        done = subprocess.run(
            [str(self.airflow / "bin" / "airflow"), *arguments],
            env=self.environment, check=False, capture_output=True, text=True, timeout=PATIENCE_S,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-3000:]
        return done.stdout

    def count(self, name: str, where: str = "TRUE") -> int:
        client = bigquery_client(self.warehouse)
        try:
            sql = f"SELECT COUNT(*) AS n FROM `{client.project}.{name}` WHERE {where}"
            return int(next(_asked(client, sql)).n)
        finally:
            client.close()


def _asked(client: bigquery.Client, sql: str) -> Iterator[bigquery.Row]:
    return iter(client.query(sql).result())


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    folder = tmp_path_factory.mktemp("airflow")
    rest, grpc, source, metrics = free_ports(4)
    emulator = BigQuery(folder / "bigquery", rest, grpc)
    simulator = Service(
        "simulator", metrics,
        environment={"SIMULATOR__PORT": str(source), "SIMULATOR__HISTORY_DAY_PAUSE_SECONDS": "0"},
    )  # fmt: skip
    process = ManagedProcess(
        "simulator", simulator.command, log_file=folder / "simulator.log", environment=simulator.full_environment({})
    )
    airflow = environment_of(FOLDER / "airflow.lock")
    emulator.start()
    try:
        process.start()
        process.wait_until(simulator.ready, 60)
        warehouse = emulator.settings
        ensure_warehouse(warehouse)
        environment = {
            **os.environ,
            "AIRFLOW_HOME": str(folder / "home"),
            "AIRFLOW__CORE__DAGS_FOLDER": str(FOLDER / "dags"),
            "AIRFLOW__CORE__LOAD_EXAMPLES": "false",
            "FLIT_HOME": str(FOLDER.parents[1]),
            "FLIT_PYTHON": sys.executable,
            "FLIT_ARCHIVE": str(folder / "archive"),
            "FLIT_DAILY": str(DAILY),
            "SIMTOM__URL": f"http://127.0.0.1:{source}",
            "SIMTOM__CUSTOMER_SCOPE": "run",
            "MODEL_REGISTRY__URI": str(folder / "models"),
            "TRAINER__REPORTS": str(folder / "reports"),
            **emulator.environment(),
        }
        rig = Rig(environment, airflow, warehouse)
        _history(environment, folder / "archive")
        rig.run("db", "migrate")
        yield rig
    finally:
        process.stop()
        emulator.stop()


def _history(environment: dict[str, str], archive: Path) -> None:
    """The days before the DAG's first one."""
    last = FIRST + timedelta(days=DAYS - 1)
    days = ["--start", str(FIRST), "--end", str(last), "--daily", str(DAILY), "--seed", "7"]
    for module, arguments in (
        ("services.ingestor", ["backfill", *days, "--to", str(archive)]),
        ("services.sink", ["load", str(archive)]),
        ("services.trainer", ["reprocess"]),
    ):
        command = [sys.executable, "-m", module, *arguments]
        subprocess.run(command, env={**environment, "METRICS__PORT": "0"}, check=True, timeout=PATIENCE_S)


def test_every_dag_is_imported_without_an_error(rig: Rig) -> None:
    assert rig.run("dags", "list-import-errors").strip().splitlines()[-1] == "No data found"
    assert rig.run("tasks", "list", "flit_daily").split()[-len(TASKS) :] == sorted(TASKS)


def test_three_days_one_after_the_other_and_one_of_them_again(rig: Rig) -> None:
    after = FIRST + timedelta(days=DAYS)
    for number in range(3):
        day = after + timedelta(days=number)
        before = rig.count(tables.TRANSACTIONS.id)
        rig.run("dags", "test", "flit_daily", str(day + timedelta(days=1)))  # it runs in the night after
        of_day = rig.count(tables.TRANSACTIONS.id, f"DATE(occurred_at) = '{day}'")
        assert rig.count(tables.TRANSACTIONS.id) == before + of_day
        assert of_day > DAILY / 3
        assert rig.count(tables.FEATURES.id) == rig.count(tables.TRANSACTIONS.id)
        people = f"SELECT customer_id FROM `{rig.warehouse.project}.{tables.TRANSACTIONS.id}`"
        assert not rig.count(
            tables.TRANSACTIONS.id,
            f"DATE(occurred_at) = '{day}' AND customer_id IN ({people} WHERE DATE(occurred_at) != '{day}')",
        ), "each day's people are its own: nobody is given a stranger's past"
    rows = {table.id: rig.count(table.id) for table in (tables.TRANSACTIONS, tables.OUTCOMES, tables.FEATURES)}
    raw = rig.count(tables.RAW_TRANSACTIONS.id, "_timestamp >= TIMESTAMP '2026-01-01'")
    examples = rig.count(views.TRAINING_EXAMPLES.id)
    rig.run("dags", "test", "flit_daily", str(after + timedelta(days=2)))
    assert {name: rig.count(name) for name in rows} == rows
    assert (
        rig.count(tables.RAW_TRANSACTIONS.id, "_timestamp >= TIMESTAMP '2026-01-01'")
        == raw
        == rows[tables.TRANSACTIONS.id]
    )
    assert rig.count(views.TRAINING_EXAMPLES.id) == examples
    # Each run trains, and judges what is in service.
    assert rig.count(tables.MODEL_EVALUATIONS.id, "kind = 'training'") == 4
    assert 1 <= rig.count(tables.MODEL_EVALUATIONS.id, "kind = 'matured'") <= 4  # where something matured since
    current = json.loads((Path(rig.environment["MODEL_REGISTRY__URI"]) / "current").read_text())
    assert current["version"]
