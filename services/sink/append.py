"""One open connection to a write stream, and the frozen batches that go through it. Blocking calls: for threads."""

from __future__ import annotations

import queue
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import grpc
import pyarrow as pa
from google.api_core.gapic_v1 import routing_header
from google.cloud.bigquery_storage_v1 import BigQueryWriteClient, types

from shared.warehouse.arrow import record_batch, schema_of
from shared.warehouse.columns import Row, Table

MAX_APPEND_BYTES = 4 * 1024 * 1024
"""BigQuery refuses a request above 10 MB, framing included; smaller ones also free memory sooner."""

OK, ALREADY_EXISTS = grpc.StatusCode.OK, grpc.StatusCode.ALREADY_EXISTS
_BY_NUMBER = {status.value[0]: status for status in grpc.StatusCode}


@dataclass(frozen=True, slots=True)
class Frozen:
    """Rows as they will be sent, however often. Sent again, it is byte for byte the same."""

    payload: bytes
    rows: int
    last_offset: int
    """Kafka's, of its last row."""


def freeze(table: Table, rows: Sequence[Row]) -> list[Frozen]:
    """Consecutive batches, each below the limit on an append. Raises RowInvalid."""
    return list(_split(record_batch(table, rows), rows)) if rows else []


def _split(batch: pa.RecordBatch, rows: Sequence[Row]) -> Iterator[Frozen]:
    if batch.nbytes > MAX_APPEND_BYTES and len(rows) > 1:
        half = len(rows) // 2
        yield from _split(batch.slice(0, half), rows[:half])
        yield from _split(batch.slice(half), rows[half:])
    else:
        yield Frozen(batch.serialize().to_pybytes(), len(rows), rows[-1]["kafka_offset"])


@dataclass(frozen=True, slots=True)
class Answer:
    """What became of an append. `offset`: the one that it was written at, where the code is OK."""

    code: grpc.StatusCode
    detail: str = ""
    offset: int | None = None


class AppendConnection:
    """A bidirectional call to one stream. Not for two threads at once, except `cancel`."""

    def __init__(self, client: BigQueryWriteClient, stream: str, table: Table) -> None:
        self._stream = stream
        self._schema: bytes | None = schema_of(table).serialize().to_pybytes()
        self._requests: queue.SimpleQueue[types.AppendRowsRequest | None] = queue.SimpleQueue()
        # The transport's own method: the client's wrapper would block until the first answer, and its default retry
        # would send an iterator again that is used up already.
        self._call = client.transport.append_rows(
            iter(self._requests.get, None),
            metadata=(routing_header.to_grpc_metadata((("write_stream", stream),)),),
        )

    def append(self, batch: Frozen, offset: int) -> Answer:
        """Send and wait for the answer. Never raises for what the server or the line did."""
        data = types.AppendRowsRequest.ArrowData(rows=types.ArrowRecordBatch(serialized_record_batch=batch.payload))
        if self._schema is not None:  # needed once on each connection
            data.writer_schema = types.ArrowSchema(serialized_schema=self._schema)
            self._schema = None
        self._requests.put(types.AppendRowsRequest(write_stream=self._stream, offset=offset, arrow_rows=data))
        try:
            response = next(self._call)
        except StopIteration:
            return Answer(grpc.StatusCode.UNAVAILABLE, "the server ended the connection")
        except grpc.RpcError as error:
            return Answer(error.code(), error.details() or "")
        if response.error.code:
            return Answer(_BY_NUMBER.get(response.error.code, grpc.StatusCode.UNKNOWN), response.error.message)
        written_at = response.append_result.offset
        return Answer(OK, offset=None if written_at is None else int(written_at))

    def cancel(self) -> None:
        """End the call, from any thread; a waiting `append` then answers CANCELLED."""
        self._call.cancel()
        self._requests.put(None)
