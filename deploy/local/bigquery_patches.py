"""The defects of bqemulator 1.4.0, each mended by one function that says what is wrong and what breaks without it.

The version is pinned exactly: these reach into its inside. Each patch can be left out by name, which is how the tests
show that it is needed.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from typing import Any

import duckdb
from bqemulator.api.routes import upload
from bqemulator.domain.events import TableDataChanged
from bqemulator.grpc_api import write_servicer
from bqemulator.storage.engine import DuckDBEngine
from bqemulator.streaming.write_stream import WriteStreamState, WriteStreamType, parse_stream_name
from bqemulator.versioning.snapshots import SnapshotManager
from google.cloud.bigquery_storage_v1 import types

GRPC_THREADS = 128
"""One is held for as long as an append or read stream is open: tables × partitions, twice over while they move."""

_write_gate = threading.RLock()
"""Held by whoever changes data, over REST or over gRPC."""

_Handler = write_servicer.BigQueryWriteHandler


def no_spatial_extension() -> None:
    """At its start it installs DuckDB's spatial extension from the internet, and ends where there is none.

    Without it GEOGRAPHY columns don't work; we have none.
    """
    DuckDBEngine._load_spatial = lambda self: None


def no_snapshot_on_append() -> None:
    """Every append copies the whole table, for `FOR SYSTEM_TIME AS OF`: a million rows make each append take seconds.

    Time travel is given up; the event that tells other parts of the change is still published.
    """

    def record_change(self: Any, project: str, dataset: str, table: str) -> None:
        self._events.publish(TableDataChanged(project, dataset, table))

    SnapshotManager.record_change = record_change


def cursor_for_each_thread() -> None:
    """All threads share one DuckDB connection, whose result belongs to whoever executed last: wrong rows, and hangs."""
    local = threading.local()

    def connection(self: Any) -> duckdb.DuckDBPyConnection:
        if threading.current_thread() is threading.main_thread() or not self._started:
            return self._connection
        if getattr(local, "engine", None) is not self:
            local.cursor, local.engine = self._connection.cursor(), self
            local.cursor.execute("SET TimeZone = 'UTC'")
        return local.cursor

    DuckDBEngine.connection = property(connection)


def one_write_lock() -> None:
    """REST's writes are serialised by an asyncio lock that gRPC's threads know nothing of: conflicting transactions."""

    @asynccontextmanager
    async def write_lock(self: Any) -> AsyncIterator[None]:
        async with self._write_lock:
            with _write_gate:
                yield

    DuckDBEngine.write_lock = write_lock


def any_upload_type() -> None:
    """It refuses the media type that the current client sends with multipart loads."""
    upload._is_permitted_media_type = lambda content_type: True


def durable_streams() -> None:
    """Streams live in memory, and an append moves the offset before it inserts.

    Without the patch a restart forgets every stream (and a sealed one could be written again), and a bad row loses the
    rows behind it silently. With it, rows and offset change in one transaction, a failure takes both back, and offset
    and state of a stream survive.
    """
    table = '"_bqemulator_catalog"."flit_write_streams"'
    append, create = _Handler._perform_append, _Handler._handle_create_write_stream
    finalize, resolve, get = (
        _Handler._handle_finalize_write_stream,
        _Handler._resolve_append_stream,
        _Handler._handle_get_write_stream,
    )

    def save(self: Any, stream: Any) -> None:
        engine = self._ctx.engine
        engine.execute(
            f"CREATE TABLE IF NOT EXISTS {table}"
            " (name VARCHAR PRIMARY KEY, kind VARCHAR, state VARCHAR, next_offset BIGINT)"
        )
        row = [stream.name, stream.stream_type.value, stream.state.value, stream.next_offset]
        engine.execute(f"INSERT OR REPLACE INTO {table} VALUES (?, ?, ?, ?)", row)

    def load(self: Any, name: str) -> None:
        if self._manager.get(name) is not None:
            return
        row = None
        with _write_gate, suppress(duckdb.CatalogException):  # no such table: nothing was saved yet
            query = f"SELECT kind, state, next_offset FROM {table} WHERE name = ?"
            row = self._ctx.engine.execute(query, [name]).fetchone()
        if row is not None:
            project, dataset, target, stream_id = parse_stream_name(name)
            stream = self._manager.create(project, dataset, target, stream_id, WriteStreamType(row[0]))
            stream.state = WriteStreamState(row[1])
            stream.next_offset = stream.row_count = row[2]

    def perform_append(self: Any, stream: Any, rows: Any, offset: int | None, most: int) -> bytes:
        with stream.lock, _write_gate:
            before = (stream.next_offset, stream.row_count)
            connection = self._ctx.engine.connection
            connection.begin()
            try:
                answer: bytes = append(self, stream, rows, offset, most)
                if stream.stream_type is WriteStreamType.COMMITTED and stream.next_offset != before[0]:
                    save(self, stream)
                connection.commit()
            except Exception as error:  # noqa: BLE001 - whatever it was, the client must be told, and nothing kept
                connection.rollback()
                stream.next_offset, stream.row_count = before
                refusal: bytes = write_servicer._error_response(stream.name, str(error))
                return refusal
            return answer

    def handle_create(self: Any, request: bytes, context: Any) -> Any:
        answer = create(self, request, context)
        if answer:
            with _write_gate:
                save(self, self._manager.get(types.WriteStream.deserialize(answer).name))
        return answer

    def handle_finalize(self: Any, request: bytes, context: Any) -> Any:
        name = types.FinalizeWriteStreamRequest.deserialize(request).name
        load(self, name)
        answer = finalize(self, request, context)
        stream = self._manager.get(name)
        if stream is not None:
            with _write_gate:
                save(self, stream)
        return answer

    def resolve_stream(self: Any, name: str, context: Any) -> Any:
        load(self, name)
        return resolve(self, name, context)

    def handle_get(self: Any, request: bytes, context: Any) -> Any:
        load(self, types.GetWriteStreamRequest.deserialize(request).name)
        return get(self, request, context)

    _Handler._perform_append = perform_append
    _Handler._handle_create_write_stream = handle_create
    _Handler._handle_finalize_write_stream = handle_finalize
    _Handler._resolve_append_stream = resolve_stream
    _Handler._handle_get_write_stream = handle_get


def enough_threads() -> None:
    """gRPC calls run on the loop's default executor: six threads on two cores, each held by an open stream.

    Has to be called with the loop running.
    """
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(GRPC_THREADS))


PATCHES: dict[str, Callable[[], None]] = {
    "spatial": no_spatial_extension,
    "snapshot": no_snapshot_on_append,
    "cursor": cursor_for_each_thread,
    "lock": one_write_lock,
    "upload": any_upload_type,
    "streams": durable_streams,
}
ON_THE_LOOP: dict[str, Callable[[], None]] = {"threads": enough_threads}
NAMES: tuple[str, ...] = (*PATCHES, *ON_THE_LOOP)
