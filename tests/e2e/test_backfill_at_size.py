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

import numpy as np
import pytest
from pandas.util import hash_pandas_object
from rich.console import Console

from deploy.local.backfill import Backfill, BackfillSettings
from shared.warehouse import tables
from shared.warehouse.clients import bigquery_client
from shared.warehouse.reading import read_client

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]

DAYS, DAILY = 90, 5_000
LIMIT_S = 600
KILLS = 5
READ_S = 300.0
UNLIKE = ("kafka_timestamp", "_ingestion_timestamp", "computed_at", "load_id")
"""What differs from one load of the same rows to the next: when it was, and its name."""

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


def digests(folder: Path) -> dict[str, tuple[int, int]]:
    """Table → how many rows, and a hash over all of them, whatever their order, without when they were made."""
    settings = BackfillSettings.model_validate({"BACKFILL_DATA_DIR": folder / "data", "start": "2026-06-01"})
    found = {}
    with Backfill(settings, Console(stderr=True)).opened() as backfill:
        client = bigquery_client(backfill.bigquery.settings)
        reads = read_client(backfill.bigquery.settings)
        for table in COMPARED:
            rows = client.list_rows(f"{client.project}.{table.id}", timeout=READ_S).to_arrow(bqstorage_client=reads)
            kept = rows.drop_columns([name for name in UNLIKE if name in rows.column_names]).to_pandas()
            # A sum, for the order is another one; of 64 bits a row, so that no two differences are likely to cancel.
            hashed = hash_pandas_object(kept, index=False).to_numpy(np.uint64)
            found[table.id] = (len(kept), int(hashed.sum(dtype=np.uint64)))
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
