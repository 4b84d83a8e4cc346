"""`make backfill` at its full size, killed on the way and called again: in time, and the same rows."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from deploy.local.backfill import Backfill, BackfillSettings
from shared.warehouse import tables
from shared.warehouse.clients import bigquery_client

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]

DAYS, DAILY = 90, 5_000
LIMIT_S = 600
KILLS = 5
PRIME = 1_000_000_007
COMPARED = (tables.RAW_TRANSACTIONS, tables.TRANSACTIONS, tables.OUTCOMES, tables.FEATURES)


def environment(folder: Path) -> dict[str, str]:
    return {
        **os.environ, "PYTHONPATH": ".", "START": "2026-06-01", "END": "2026-08-29", "DAILY": str(DAILY),
        "BACKFILL_DATA_DIR": str(folder / "data"), "BACKFILL_OUT": str(folder / "out.json"),
    }  # fmt: skip


def begin(folder: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "deploy.local.backfill"]
    return subprocess.Popen(command, env=environment(folder), stdout=subprocess.DEVNULL, start_new_session=True)


def finished(folder: Path) -> dict[str, Any]:
    assert begin(folder).wait(LIMIT_S + 300) == 0
    result: dict[str, Any] = json.loads((folder / "out.json").read_text())
    return result


def digests(folder: Path) -> dict[str, Any]:
    """Table → how many rows, and a hash over each column but those that say when it was made, whatever their order."""
    settings = BackfillSettings.model_validate({"BACKFILL_DATA_DIR": folder / "data", "start": "2026-06-01"})
    found = {}
    with Backfill(settings, Console(stderr=True)).opened() as backfill:
        client = bigquery_client(backfill.bigquery.settings)
        for table in COMPARED:
            # A sum for each column: one text of sixty of them is more than the emulator's parser takes.
            said = {
                column.name: f"CONCAT(event_id, COALESCE(TO_JSON_STRING({column.name}), 'null'))"
                for column in table.columns
                if column.name not in {"kafka_timestamp", "_ingestion_timestamp", "computed_at"}
            }
            hashed = ", ".join(
                f"SUM(MOD(FARM_FINGERPRINT({text}), {PRIME})) AS {name.lstrip('_')}_hashed"
                for name, text in said.items()
            )
            sql = (
                f"SELECT COUNT(*) AS n, {hashed} FROM `{client.project}.{table.id}`"
                f" WHERE {table.partition_by} >= TIMESTAMP '2026-01-01'"
            )
            found[table.id] = tuple(next(iter(client.query(sql).result())).values())
        client.close()
    return found


def test_a_quarter_of_5000_a_day_in_ten_minutes_and_the_same_rows_after_five_kills(tmp_path: Path) -> None:
    whole = finished(tmp_path / "whole")
    print(json.dumps(whole["stage_seconds"]))
    assert whole["seconds"] <= LIMIT_S
    dice = random.Random(1)
    for _ in range(KILLS):
        process = begin(tmp_path / "killed")
        time.sleep(dice.uniform(5, whole["seconds"] / 2))  # not a wait for anything: the moment is what varies
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    killed = finished(tmp_path / "killed")
    assert killed["examples"]["digest"] == whole["examples"]["digest"]
    assert digests(tmp_path / "killed") == digests(tmp_path / "whole")
