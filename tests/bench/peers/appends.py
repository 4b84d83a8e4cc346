"""Rows into one table of the warehouse in the ways that Google's clients offer, a thread for each of the four
partitions that they come from.

`python -m tests.bench.peers.appends KIND TABLE ROWS` prints how many it wrote a second but for the last of them
(tests/bench/most.py), as is measured of the sink. Before the clock starts each thread has opened its channel and has
a first small batch acknowledged. KIND:

- `bare`: the Storage Write API with offsets, a stream of its own for each thread; batches are made beforehand, so that
  nothing but sending and being answered counts: the limit.
- `default`: the table's default stream, at least once; from rows to Arrow is counted.
- `insertAll`: the REST API; from rows to JSON is counted.

ROWS: a file of JSON lines, each a row of `flit_ml_raw.features` as the sink makes them. TABLE: `dataset.table` with the
columns of that table.
"""

from __future__ import annotations

import queue
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import orjson
from google.cloud.bigquery_storage_v1 import BigQueryWriteClient, types

from services.sink.settings import SinkSection
from shared.settings import BigQuerySettings, ServiceSettings, load_settings
from shared.warehouse.arrow import record_batch, schema_of
from shared.warehouse.clients import bigquery_client
from shared.warehouse.columns import ColumnType, Row
from shared.warehouse.tables import FEATURES
from shared.warehouse.writing import write_client
from tests.bench.most import Look, rate_of_most

AT_ONCE = SinkSection().max_rows
"""As the sink's own appends."""
AT_FIRST = 10
"""Rows of a thread's first batch, which no clock runs for."""

Writing = Iterator[int]
"""Writes a batch with each step, and gives how many rows were acknowledged. The first step opens the channel."""


class PeerSettings(ServiceSettings):
    bigquery: BigQuerySettings = BigQuerySettings()


class Appends:
    """One connection to a stream: a batch, its answer, the next."""

    def __init__(self, client: BigQueryWriteClient, stream: str) -> None:
        self._requests: queue.SimpleQueue[types.AppendRowsRequest] = queue.SimpleQueue()
        self._stream = stream
        # Not by the client's own method, which waits for the first answer before it has sent anything.
        self._answers = client.transport.append_rows(
            iter(self._requests.get, None), metadata=(("x-goog-request-params", f"write_stream={stream}"),)
        )
        self._schema: bytes | None = schema_of(FEATURES).serialize().to_pybytes()

    def append(self, batch: bytes, offset: int | None) -> None:
        rows = types.AppendRowsRequest.ArrowData(rows=types.ArrowRecordBatch(serialized_record_batch=batch))
        if self._schema is not None:  # needed once
            rows.writer_schema, self._schema = types.ArrowSchema(serialized_schema=self._schema), None
        self._requests.put(types.AppendRowsRequest(write_stream=self._stream, offset=offset, arrow_rows=rows))
        answer = next(self._answers)
        assert not answer.error.code, answer.error.message


def frozen(rows: Sequence[Row]) -> bytes:
    batch: bytes = record_batch(FEATURES, rows).serialize().to_pybytes()
    return batch


def batches_of(rows: Sequence[Row]) -> list[Sequence[Row]]:
    """A small one first."""
    return [rows[:AT_FIRST], *(rows[start : start + AT_ONCE] for start in range(AT_FIRST, len(rows), AT_ONCE))]


def bare(settings: BigQuerySettings, table: str, rows: Sequence[Row]) -> Writing:
    client = write_client(settings)
    kind = types.WriteStream(type_=types.WriteStream.Type.COMMITTED)
    stream = client.create_write_stream(parent=_path(settings, table), write_stream=kind).name
    batches = [(len(batch), frozen(batch)) for batch in batches_of(rows)]
    appends, offset = Appends(client, stream), 0
    for count, batch in batches:
        appends.append(batch, offset)
        offset += count
        yield count


def default(settings: BigQuerySettings, table: str, rows: Sequence[Row]) -> Writing:
    appends = Appends(write_client(settings), f"{_path(settings, table)}/streams/_default")
    for batch in batches_of(rows):
        appends.append(frozen(batch), None)
        yield len(batch)


def insert_all(settings: BigQuerySettings, table: str, rows: Sequence[Row]) -> Writing:
    client = bigquery_client(settings)
    target = client.get_table(f"{settings.project}.{table}")
    for batch in batches_of(rows):
        refused = client.insert_rows_json(target, [_json(row) for row in batch], row_ids=[None] * len(batch))
        assert not refused, refused[:1]
        yield len(batch)


class Progress:
    """Of all threads together."""

    def __init__(self) -> None:
        self.looks = [Look(time.perf_counter(), 0)]
        self._lock = threading.Lock()

    def follow(self, writing: Writing) -> None:
        for count in writing:
            with self._lock:
                self.looks.append(Look(time.perf_counter(), self.looks[-1].rows + count))


def rate_of(writings: Sequence[Writing]) -> float:
    """Rows a second but for the last of them, of threads that have begun."""
    with ThreadPoolExecutor(len(writings)) as threads:
        list(threads.map(next, writings))
        progress = Progress()
        list(threads.map(progress.follow, writings))
    return rate_of_most(progress.looks, progress.looks[-1].rows)


_TIMES = [column.name for column in FEATURES.columns if column.type is ColumnType.TIMESTAMP]


def _json(row: Row) -> dict[str, Any]:
    """As insertAll takes it: times as text."""
    times = {
        name: datetime.fromtimestamp(row[name] / 1e6, UTC).isoformat() for name in _TIMES if row.get(name) is not None
    }
    return {**row, **times}


def _path(settings: BigQuerySettings, table: str) -> str:
    dataset, name = table.split(".")
    return f"projects/{settings.project}/datasets/{dataset}/tables/{name}"


KINDS = {"bare": bare, "default": default, "insertAll": insert_all}


def main() -> None:
    kind, table, path = sys.argv[1:]
    settings = load_settings(PeerSettings).bigquery
    rows = [orjson.loads(line) for line in Path(path).read_bytes().splitlines()]
    partitions = sorted({row["kafka_partition"] for row in rows})
    write = partial(KINDS[kind], settings, table)
    print(rate_of([write([row for row in rows if row["kafka_partition"] == number]) for number in partitions]))


if __name__ == "__main__":
    main()
