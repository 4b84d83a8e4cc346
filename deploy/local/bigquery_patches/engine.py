"""Defects in how the emulator uses its database, DuckDB."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import duckdb
from bqemulator.catalog.duckdb_repository import DuckDBCatalogRepository
from bqemulator.domain.events import TableDataChanged
from bqemulator.grpc_api.write_servicer import BigQueryWriteHandler
from bqemulator.storage.engine import CATALOG_SCHEMA, DuckDBEngine
from bqemulator.storage.sql_identifiers import quoted_table_ref, schema_name
from bqemulator.versioning.snapshots import SnapshotManager

from deploy.local.bigquery_patches.gate import WRITE_GATE

CATALOGUE_WRITES = (
    "create_dataset",
    "update_dataset",
    "delete_dataset",
    "create_table",
    "update_table",
    "delete_table",
)
"""What changes the catalogue's rows of datasets and tables, in its memory and in the database."""


def no_spatial_extension() -> None:
    """At its start it installs DuckDB's spatial extension from the internet, and ends if it can't.

    Without the patch nothing runs offline. With it, GEOGRAPHY columns don't work; we have none.
    """
    DuckDBEngine._load_spatial = lambda self: None


def no_snapshots() -> None:
    """Every write copies the whole table, for `FOR SYSTEM_TIME AS OF`.

    Without the patch the cost of an append grows with the table: at a million rows, seconds and another copy on disk.
    With it there is no time travel; materialised views still hear of the change.
    """

    def record_change(self: Any, project: str, dataset: str, table: str) -> None:
        self._events.publish(TableDataChanged(project, dataset, table))

    SnapshotManager.record_change = record_change


def cursor_for_each_thread() -> None:
    """All threads share one DuckDB connection, and so its one current result and its one transaction.

    Without the patch a query reads the rows of another one, sees what isn't committed, or hangs. With it each thread
    but the main one (which runs REST) has a cursor: a connection of its own to the same database.
    """
    local = threading.local()

    def connection(self: Any) -> duckdb.DuckDBPyConnection:
        if threading.current_thread() is threading.main_thread() or not self._started:
            return self._connection
        if getattr(local, "engine", None) is not self:
            local.cursor, local.engine = self._connection.cursor(), self
            local.cursor.execute("SET TimeZone = 'UTC'")  # a cursor doesn't inherit it
        return local.cursor

    DuckDBEngine.connection = property(connection)


def one_write_lock() -> None:
    """REST's writers wait for each other on an asyncio lock that gRPC's threads know nothing of.

    Without the patch both change the same catalogue row: one gets a conflict (HTTP 500, or a lost append), or a row
    count written back by an append undoes a schema change made meanwhile. With it they take turns.
    """

    @asynccontextmanager
    async def write_lock(self: Any) -> AsyncIterator[None]:
        async with self._write_lock:
            with WRITE_GATE:
                yield

    DuckDBEngine.write_lock = write_lock
    for name in CATALOGUE_WRITES:  # some routes change the catalogue without any lock
        setattr(DuckDBCatalogRepository, name, _gated(getattr(DuckDBCatalogRepository, name)))
    for name in ("_perform_append", "_flush_to_target"):
        setattr(BigQueryWriteHandler, name, _gated_append(getattr(BigQueryWriteHandler, name)))


def _gated(method: Callable[..., Any]) -> Callable[..., Any]:
    def gated(*arguments: Any, **named: Any) -> Any:
        with WRITE_GATE:
            return method(*arguments, **named)

    return gated


def _gated_append(method: Callable[..., Any]) -> Callable[..., Any]:
    def gated(self: Any, stream: Any, *rest: Any) -> Any:
        with stream.lock, WRITE_GATE:
            return method(self, stream, *rest)

    return gated


def orphans_removed() -> None:
    """A table is made (or dropped) in the database first and in the catalogue second, in two transactions.

    Without the patch a kill -9 in between leaves a table that can neither be used nor made again, or one that is listed
    and isn't there. With it, what only one of the two knows is removed at the start. Nothing acknowledged is lost by
    that: the answer is only sent after both.
    """
    ensure_ready = DuckDBCatalogRepository.ensure_ready

    def ensure_consistent(self: Any) -> None:
        if self._loaded:
            return
        ensure_ready(self)
        _remove_orphans(self)

    DuckDBCatalogRepository.ensure_ready = ensure_consistent


def _remove_orphans(catalogue: Any) -> None:
    # Only folders of the catalogue's datasets: the emulator keeps tables of its own in others.
    datasets = {schema_name(each.project_id, each.dataset_id): each for each in catalogue.list_all_datasets()}
    rows = catalogue._engine.execute(
        "SELECT table_schema, table_name, table_type FROM information_schema.tables"
        f" WHERE table_schema <> '{CATALOG_SCHEMA}'"
    ).fetchall()
    present = {(schema, table): kind for schema, table, kind in rows if schema in datasets}
    listed = {
        (schema, table.table_id): table
        for schema, dataset in datasets.items()
        for table in catalogue.list_tables(dataset.project_id, dataset.dataset_id)
    }
    for (schema, table), kind in present.items():
        if (schema, table) not in listed:
            dataset = datasets[schema]
            target = quoted_table_ref(dataset.project_id, dataset.dataset_id, table)
            catalogue._engine.execute(f"DROP {'VIEW' if kind == 'VIEW' else 'TABLE'} {target}")
    for key, meta in listed.items():
        if key not in present and meta.table_type in ("TABLE", "VIEW"):
            catalogue.delete_table(meta.project_id, meta.dataset_id, meta.table_id)
