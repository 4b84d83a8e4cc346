"""Defects in the Storage Write API: what a writer that must write each row exactly once relies on."""

from __future__ import annotations

from typing import Any

import duckdb
import grpc
from bqemulator.grpc_api import write_servicer
from bqemulator.grpc_api.write_servicer import BigQueryWriteHandler
from bqemulator.storage.engine import CATALOG_SCHEMA, DuckDBEngine
from bqemulator.streaming.write_stream import WriteStreamState, WriteStreamType, parse_stream_name
from google.cloud.bigquery_storage_v1 import types

from deploy.local.bigquery_patches.gate import WRITE_GATE

KEPT_STREAMS = f'"{CATALOG_SCHEMA}"."flit_write_streams"'

TRANSIENT = (
    duckdb.TransactionException,
    duckdb.IOException,
    duckdb.OutOfMemoryException,
    duckdb.InterruptException,
    duckdb.InternalException,
    duckdb.FatalException,
    duckdb.ConnectionException,
    MemoryError,
    OSError,
)
"""What isn't the rows' fault: the same append may succeed later."""


def durable_streams() -> None:
    """Streams live in memory, and finalizing one doesn't wait for an append that is under way.

    Without the patch a restart forgets each stream and its offset, so a writer can't tell whether its last append
    landed. A successor that finalizes the old writer's stream, and then asks how far it got, is overtaken by the old
    writer's last append: rows twice. With it a COMMITTED stream's offset and state are kept in the database, and what
    lands at all has landed before finalizing is answered.
    """
    handler = BigQueryWriteHandler
    ensure_schema = DuckDBEngine._ensure_catalog_schema
    create, finalize = handler._handle_create_write_stream, handler._handle_finalize_write_stream
    append, resolve, get = handler._perform_append, handler._resolve_append_stream, handler._handle_get_write_stream

    def ensure_schema_and_table(self: Any) -> None:
        ensure_schema(self)
        self._connection.execute(
            f"CREATE TABLE IF NOT EXISTS {KEPT_STREAMS} (name VARCHAR PRIMARY KEY, state VARCHAR, next_offset BIGINT)"
        )

    def handle_create(self: Any, request: bytes, context: Any) -> Any:
        answer = create(self, request, context)
        if answer:
            _keep(self, types.WriteStream.deserialize(answer).name)
        return answer

    def perform_append(self: Any, stream: Any, rows: Any, offset: int | None, most: int) -> Any:
        before = stream.next_offset
        answer = append(self, stream, rows, offset, most)
        if stream.next_offset != before:
            _keep(self, stream.name)
        return answer

    def handle_finalize(self: Any, request: bytes, context: Any) -> Any:
        name = types.FinalizeWriteStreamRequest.deserialize(request).name
        _recall(self, name)
        stream = self._manager.get(name)
        if stream is None:
            return finalize(self, request, context)  # NOT_FOUND
        with stream.lock:
            answer = finalize(self, request, context)
            _keep(self, name)
        return answer

    def resolve_append_stream(self: Any, name: str, context: Any) -> Any:
        _recall(self, name)
        return resolve(self, name, context)

    def handle_get(self: Any, request: bytes, context: Any) -> Any:
        _recall(self, types.GetWriteStreamRequest.deserialize(request).name)
        return get(self, request, context)

    DuckDBEngine._ensure_catalog_schema = ensure_schema_and_table
    handler._handle_create_write_stream = handle_create
    handler._handle_finalize_write_stream = handle_finalize
    handler._perform_append = perform_append
    handler._resolve_append_stream = resolve_append_stream
    handler._handle_get_write_stream = handle_get


def _keep(handler: Any, name: str) -> None:
    stream = handler._manager.get(name)
    if stream is None or stream.stream_type is not WriteStreamType.COMMITTED:
        return
    row = [stream.name, stream.state.value, stream.next_offset]
    with WRITE_GATE:
        handler._ctx.engine.execute(f"INSERT OR REPLACE INTO {KEPT_STREAMS} VALUES (?, ?, ?)", row)


def _recall(handler: Any, name: str) -> None:
    with WRITE_GATE:  # two first requests for one stream must not both make it
        if handler._manager.get(name) is not None:
            return
        query = f"SELECT state, next_offset FROM {KEPT_STREAMS} WHERE name = ?"
        row = handler._ctx.engine.execute(query, [name]).fetchone()
        if row is not None:
            stream = handler._manager.create(*parse_stream_name(name), WriteStreamType.COMMITTED)
            stream.next_offset = stream.row_count = row[1]
            stream.state = WriteStreamState(row[0])


def atomic_appends() -> None:
    """An append moves the stream's offset before it inserts the rows, and never moves it back.

    Without the patch a batch that the database refuses (one bad row) is lost silently: sent again without the bad row,
    it is answered ALREADY_EXISTS. With it rows, row count and offset change in one transaction or not at all, and the
    answer tells a fault of the rows (INVALID_ARGUMENT) from one of the moment (ABORTED: send the same again).
    """
    append = BigQueryWriteHandler._perform_append

    def perform_append(self: Any, stream: Any, rows: Any, offset: int | None, most: int) -> Any:
        with stream.lock, WRITE_GATE:
            before = stream.next_offset, stream.row_count, len(stream.buffer)
            table = (stream.project_id, stream.dataset_id, stream.table_id)
            meta = self._ctx.catalog.get_table(*table)
            connection = self._ctx.engine.connection
            connection.begin()
            try:
                answer = append(self, stream, rows, offset, most)
                connection.commit()
            except Exception as error:  # noqa: BLE001 - whatever it was, nothing may be kept and the writer be told
                _roll_back(connection)
                stream.next_offset, stream.row_count = before[:2]
                del stream.buffer[before[2] :]
                if meta is not None:
                    self._ctx.catalog._cache.update_table(meta)  # the row count, which is kept twice
                cause = _first(error)
                code = grpc.StatusCode.ABORTED if isinstance(cause, TRANSIENT) else grpc.StatusCode.INVALID_ARGUMENT
                return write_servicer._error_response(stream.name, str(cause), status_code=code)
            return answer

    BigQueryWriteHandler._perform_append = perform_append


def _first(error: BaseException) -> BaseException:
    """The error that began it: the emulator's own clean-up then fails too, in a transaction that is aborted."""
    while error.__context__ is not None:
        error = error.__context__
    return error


def _roll_back(connection: duckdb.DuckDBPyConnection) -> None:
    try:
        connection.rollback()
    except duckdb.TransactionException:  # a failed commit has rolled back already
        return
