"""An emulator of one test's own, with Google's clients for it."""

from __future__ import annotations

import os
import queue
import sys
import uuid
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import pyarrow as pa
from google.api_core.client_options import ClientOptions
from google.auth.credentials import AnonymousCredentials
from google.cloud import bigquery
from google.cloud.bigquery_storage_v1 import BigQueryReadClient, BigQueryWriteClient, types
from google.cloud.bigquery_storage_v1.services.big_query_read.transports import BigQueryReadGrpcTransport
from google.cloud.bigquery_storage_v1.services.big_query_write.transports import BigQueryWriteGrpcTransport

from deploy.local.bigquery import EMULATOR, PROJECT, BigQuery
from deploy.local.ports import free_ports
from deploy.local.processes import ManagedProcess

HELD = (sys.executable, str(Path(__file__).with_name("held_emulator.py")))
ROW_SCHEMA = pa.schema([("n", pa.int64()), ("body", pa.string())])
FIELDS = (bigquery.SchemaField("n", "INT64"), bigquery.SchemaField("body", "JSON"))
CALL_TIMEOUT_SECONDS = 30


class Emulator:
    """A running BigQuery part and clients for it. `hold_dir`: where its held places are steered from."""

    def __init__(self, part: BigQuery, hold_dir: Path) -> None:
        self.part = part
        self._hold_dir = hold_dir
        self.rest = bigquery.Client(
            PROJECT, AnonymousCredentials(), client_options=ClientOptions(api_endpoint=part.rest_endpoint)
        )
        self.connect()

    @property
    def process(self) -> ManagedProcess:
        return self.part.process

    def connect(self) -> None:
        """New gRPC channels: those of before a restart would wait with their reconnection."""
        self.channel = grpc.insecure_channel(self.part.grpc_endpoint)
        self.write = BigQueryWriteClient(transport=BigQueryWriteGrpcTransport(channel=self.channel))
        self.read = BigQueryReadClient(transport=BigQueryReadGrpcTransport(channel=self.channel))

    def new_table(self, fields: Sequence[bigquery.SchemaField] = FIELDS) -> bigquery.Table:
        """An empty one, in a dataset of its own."""
        dataset = f"d_{uuid.uuid4().hex[:8]}"
        self.rest.create_dataset(dataset, timeout=CALL_TIMEOUT_SECONDS)
        table = bigquery.Table(f"{PROJECT}.{dataset}.t", schema=list(fields))
        return self.rest.create_table(table, timeout=CALL_TIMEOUT_SECONDS)

    def new_stream(self, table: bigquery.Table) -> str:
        """Its name: COMMITTED, at offset 0."""
        stream = types.WriteStream(type_=types.WriteStream.Type.COMMITTED)
        return str(self.write.create_write_stream(parent=path_of(table), write_stream=stream, timeout=10).name)

    @contextmanager
    def appender(self, stream: str) -> Iterator[Appender]:
        """An open connection that appends to a stream."""
        appender = Appender(self.write, stream)
        try:
            yield appender
        finally:
            appender.close()

    def append(self, stream: str, rows: Sequence[Mapping[str, Any]], offset: int) -> types.AppendRowsResponse:
        """One append on a connection of its own."""
        with self.appender(stream) as appender:
            return appender.append(rows, offset)

    def numbers(self, table: bigquery.Table) -> list[int]:
        """The column n, sorted, by a query."""
        return sorted(row.n for row in self.query(f"SELECT n FROM `{table.full_table_id.replace(':', '.')}`"))

    def query(self, sql: str) -> list[bigquery.Row]:
        return list(self.rest.query(sql, retry=None, job_retry=None).result(timeout=CALL_TIMEOUT_SECONDS))

    def arm(self, place: str) -> None:
        """The next thread that comes there waits for `release`."""
        (self._hold_dir / f"{place}.go").unlink(missing_ok=True)
        (self._hold_dir / f"{place}.armed").touch()

    def wait_until_reached(self, place: str) -> None:
        reached = self._hold_dir / f"{place}.reached"
        self.process.wait_until(reached.exists, CALL_TIMEOUT_SECONDS)
        reached.unlink()

    def release(self, place: str) -> None:
        (self._hold_dir / f"{place}.go").touch()


class Appender:
    """One AppendRows connection. Requests without its library's retry, which would send a consumed iterator again."""

    def __init__(self, client: BigQueryWriteClient, stream: str) -> None:
        self._client = client
        self._stream = stream
        self._requests: queue.SimpleQueue[types.AppendRowsRequest | None] = queue.SimpleQueue()
        self._responses: Iterator[types.AppendRowsResponse] | None = None

    def append(
        self,
        rows: Sequence[Mapping[str, Any]],
        offset: int,
        schema: pa.Schema = ROW_SCHEMA,
        timeout: float | None = None,
    ) -> types.AppendRowsResponse:
        """`timeout`: of the whole connection, counted from its first request."""
        batch = pa.RecordBatch.from_pylist(list(rows), schema=schema)
        data = types.AppendRowsRequest.ArrowData(
            writer_schema=types.ArrowSchema(serialized_schema=schema.serialize().to_pybytes()),
            rows=types.ArrowRecordBatch(serialized_record_batch=batch.serialize().to_pybytes()),
        )
        self._requests.put(types.AppendRowsRequest(write_stream=self._stream, offset=offset, arrow_rows=data))
        if self._responses is None:
            requests = iter(self._requests.get, None)
            self._responses = self._client.append_rows(
                requests=requests, retry=None, timeout=timeout or CALL_TIMEOUT_SECONDS
            )
        return next(self._responses)

    def close(self) -> None:
        self._requests.put(None)


def path_of(table: bigquery.Table) -> str:
    return f"projects/{table.project}/datasets/{table.dataset_id}/tables/{table.table_id}"


def rows(*numbers: int, body: Callable[[int], str] = lambda n: f'{{"n": {n}}}') -> list[dict[str, Any]]:
    return [{"n": n, "body": body(n)} for n in numbers]


@contextmanager
def emulator(
    data_dir: Path, *, without: Collection[str] = (), held: bool = True, environment: Mapping[str, str] | None = None
) -> Iterator[Emulator]:
    """One on free ports, ended with SIGKILL: a clean stop takes seconds, and the tests of it ask for it."""
    hold_dir = data_dir / "hold"
    hold_dir.mkdir(parents=True, exist_ok=True)
    rest, grpc_port = free_ports(2)
    extra = {"HOLD_DIR": str(hold_dir), **(environment or {})}
    part = BigQuery(
        data_dir,
        rest,
        grpc_port,
        without=without,
        program=HELD if held else EMULATOR,
        environment={**os.environ, **extra},
    )
    try:
        part.start()
        yield Emulator(part, hold_dir)
    finally:
        part.kill()
