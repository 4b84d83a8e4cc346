"""The sink as it is started in production, exactly once, beside two ways to write the same rows at least once, and a
bare client loop of the Storage Write API as the limit: one process each, the same emulator, a table each.

The sink reads its rows from Kafka, decodes and checks them; the others are handed finished rows. Everybody's channels
are open and have written before the clock starts, which runs over the same part of a round (tests/bench/most.py).
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import orjson
from google.cloud import bigquery

from deploy.local.priority import yielding
from deploy.local.services import metrics_of
from services.sink.pipeline import Rules, rows_of
from shared.contracts import topics
from shared.contracts.transactions import Limits
from shared.kafka.producer import OutgoingRecord
from shared.warehouse.clients import bigquery_client
from shared.warehouse.schema import field_of
from shared.warehouse.tables import FEATURES
from tests.bench.backlog import PATIENCE_S, Backlog
from tests.bench.events import vectors
from tests.bench.most import Look, rate_of_most
from tests.bench.parts import Parts, Worker, sized
from tests.bench.report import Finding, at_least, finding
from tests.bench.rounds import numbered
from tests.unit.sink.records import PARTITIONS, record

ROWS = 20_000
"""In a round: some seconds. Never fewer: in each partition the last ones wait for more, up to a whole append (500), and
the clock stops before they do."""

LOOK_S = 0.05
ACKNOWLEDGED = f'flit_sink_rows_total{{table="{FEATURES.id}"}}'
SINK, DEFAULT, INSERT_ALL, BARE = "sink", "default", "insertAll", "bare"
OTHERS = {DEFAULT: "appends to the default stream", INSERT_ALL: "insertAll", BARE: "bare Storage Write client loop"}

Step = Callable[[str], None]


def sink(rounds: int, step: Step) -> list[Finding]:
    """Rows a second, round by round."""
    rates: dict[str, list[float]] = {kind: [] for kind in (SINK, *OTHERS)}
    batch = list(vectors(range(max(ROWS, sized(ROWS)))))
    with Parts(warehouse=True) as parts, parts.service("sink").running() as worker:
        file = parts.folder / "rows"
        file.write_bytes(b"\n".join(orjson.dumps(row) for row in _rows(batch)))
        for kind in OTHERS:
            _create_table(parts, _table(kind))
        step("the sink is up")
        for number in numbered(rounds, warming_up=1):
            taken = {SINK: asyncio.run(_sink(parts, worker, batch))}
            taken |= {kind: _other(parts, kind, file) for kind in OTHERS}
            if number:
                for kind, rate in taken.items():
                    rates[kind].append(rate)
                step(f"round {number}")
        _check(parts, (len(rates[SINK]) + 1) * len(batch))
    bare = (OTHERS[BARE], rates[BARE])
    return [
        finding(
            "sink, exactly once", "rows/s", rates[SINK],
            peer=(OTHERS[DEFAULT], rates[DEFAULT]), limit=bare, targets=[at_least("of_limit", 0.8)],
        ),
        finding("sink, exactly once", "rows/s", rates[SINK], peer=(OTHERS[INSERT_ALL], rates[INSERT_ALL]), limit=bare),
    ]  # fmt: skip


def _rows(batch: Sequence[OutgoingRecord]) -> list[dict[str, object]]:
    """As the sink makes them."""
    rules, rows = Rules(PARTITIONS, Limits()), []
    for offset, sent in enumerate(batch):
        assert sent.key is not None
        read = record(topics.FEATURES, sent.value, offset=offset, key=sent.key.decode(), headers=sent.headers)
        ((_, row),) = rows_of(read, rules)
        rows.append(row)
    return rows


def _table(kind: str) -> str:
    return f"{FEATURES.dataset}.bench_{kind}"


def _create_table(parts: Parts, name: str) -> None:
    """With the columns and the partitioning of the real one."""
    client = bigquery_client(parts.bigquery)
    table = bigquery.Table(f"{client.project}.{name}", schema=[field_of(column) for column in FEATURES.columns])
    table.time_partitioning = bigquery.TimePartitioning(field=FEATURES.partition_by)
    table.clustering_fields = list(FEATURES.cluster_by)
    client.create_table(table)


async def _sink(parts: Parts, worker: Worker, batch: Sequence[OutgoingRecord]) -> float:
    """Rows acknowledged a second, of a backlog that came while the sink was stopped."""
    before = _acknowledged(worker)
    worker.process.pause()
    try:
        async with Backlog.open(parts.kafka) as backlog:
            await backlog.send(batch)
    finally:
        worker.process.resume()
    return rate_of_most(_looks(worker, before, len(batch)), len(batch))


def _looks(worker: Worker, before: float, rows: int) -> list[Look]:
    """How many of the rows were acknowledged when, until all are."""
    looks, deadline = [Look(time.perf_counter(), 0.0)], time.monotonic() + PATIENCE_S
    while looks[-1].rows < rows:
        assert time.monotonic() < deadline, f"{looks[-1].rows} rows, {rows} awaited"
        time.sleep(LOOK_S)
        acknowledged = _acknowledged(worker) - before
        looks.append(Look(time.perf_counter(), acknowledged))
    return looks


def _acknowledged(worker: Worker) -> float:
    return metrics_of(worker.port).get(ACKNOWLEDGED, 0.0)


def _other(parts: Parts, kind: str, rows: Path) -> float:
    """Rows a second, as of the sink."""
    command = [*yielding("sink"), sys.executable, "-m", "tests.bench.peers.appends", kind, _table(kind), str(rows)]
    environment = {**os.environ, **parts.environment}
    done = subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE, text=True)
    return float(done.stdout)


def _check(parts: Parts, expected: int) -> None:
    """Each record has its row, once. Raises AssertionError."""
    client = bigquery_client(parts.bigquery)
    counts = f"COUNT(*) AS written, COUNT(DISTINCT kafka_offset * {PARTITIONS} + kafka_partition) AS records"
    query = f"SELECT {counts} FROM `{client.project}.{FEATURES.id}` WHERE {FEATURES.ever}"
    (found,) = client.query(query).result()
    assert (found.written, found.records) == (expected, expected), dict(found.items())
