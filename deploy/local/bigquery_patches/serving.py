"""Defects in how the emulator serves requests."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar
from typing import Any

from bqemulator.api.routes import jobs, tables, upload
from bqemulator.catalog.duckdb_repository import DuckDBCatalogRepository
from bqemulator.domain.errors import ResourceRef, resource_already_exists
from bqemulator.jobs import executor
from bqemulator.storage.sql_identifiers import quoted_table_ref
from bqemulator.storage.type_map import bq_schema_to_duckdb_columns
from bqemulator.streaming import read_session

GRPC_THREADS = 128
"""One is held for as long as an append or read stream is open: seven tables × four partitions, twice over while they
move to another writer, and readers. A thread costs some hundred kilobytes."""

KEPT_RESULTS = 100
"""Of the latest queries: a client fetches a result's pages within seconds, page by page."""
KEPT_RESULT_BYTES = 256 * 1024 * 1024
"""Of all but the latest together."""
KEPT_IN_ANY_CASE_S = 15.0
"""From a session or result being made until its reader has come for it, on a busy machine. Without this a large one was
gone before it was read where somebody else asked something meanwhile."""


def any_upload_type() -> None:
    """It refuses the media type that the current client sends with a load from a file (`*/*`).

    Without the patch `load_table_from_file` and its like fail with HTTP 400.
    """
    upload._is_permitted_media_type = lambda content_type: True


def named_loads() -> None:
    """A load from a file gets a name of the emulator's own, whatever name the client gave its job.

    Without the patch the client asks for a job that isn't there, and a load that is sent twice (its first answer was
    lost) adds its rows twice. With it a job is found under its name, and a name is taken once.
    """
    configuration_of, run_load = upload._load_configuration_from_envelope, upload._run_load
    name: ContextVar[str | None] = ContextVar("name", default=None)
    made_up = upload._new_job_id

    def with_reference(envelope: dict[str, Any]) -> dict[str, Any]:
        # Along with the configuration, since that is all that an upload in several pieces remembers.
        return {**configuration_of(envelope), "jobReference": envelope.get("jobReference") or {}}

    async def named(*, project_id: str, configuration: dict[str, Any], media_path: str, ctx: Any) -> Any:
        wanted = configuration.pop("jobReference", {}).get("jobId")
        if wanted and ctx.catalog.get_job(project_id, wanted) is not None:
            raise resource_already_exists(ResourceRef("job", project_id, resource_id=wanted))
        name.set(wanted)
        return await run_load(project_id=project_id, configuration=configuration, media_path=media_path, ctx=ctx)

    upload._load_configuration_from_envelope = with_reference
    upload._run_load = named
    upload._new_job_id = lambda: name.get() or made_up()


def enough_threads() -> None:
    """gRPC calls run on the event loop's default executor: CPUs + 4 threads, each held by a stream while it is open.

    Without the patch the seventh writer on a machine of two cores waits for ever, without an error.
    """
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(GRPC_THREADS, thread_name_prefix="grpc"))


def bounded_results() -> None:
    """The result of each query and each read session stays in memory until the emulator ends.

    Without the patch a long-running stack grows by every table that is ever read. With it the latest are kept, by
    number and size; an older one is answered 404, and read again by asking again.
    """
    results = _Latest(lambda table: table.nbytes)
    executor.JOB_RESULTS = jobs.JOB_RESULTS = results
    read_session._SESSIONS = _Latest(lambda session: session.table.nbytes)


class _Latest(OrderedDict[str, Any]):
    """Forgets the oldest entries beyond `KEPT_RESULTS` and `KEPT_RESULT_BYTES`; always keeps the latest one, and those
    that are younger than `KEPT_IN_ANY_CASE_S`."""

    def __init__(self, size_of: Callable[[Any], int], clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._size_of, self._clock = size_of, clock
        self._made_at: dict[str, float] = {}

    def __setitem__(self, key: str, value: Any) -> None:
        super().__setitem__(key, value)
        self.move_to_end(key)
        now = self._made_at[key] = self._clock()
        size = sum(map(self._size_of, self.values()))
        while len(self) > 1 and (len(self) > KEPT_RESULTS or size > KEPT_RESULT_BYTES):
            oldest = next(iter(self))
            if now - self._made_at[oldest] < KEPT_IN_ANY_CASE_S:
                return
            del self._made_at[oldest]
            size -= self._size_of(self.pop(oldest))


def columns_added() -> None:
    """A column added through the API (`update_table`) reaches the catalogue only; the table never gets it.

    Without the patch the next append fails, since its rows have more columns than the table. With it the column is
    added to the table as well, so that a schema grows as it does in BigQuery.
    """
    update = DuckDBCatalogRepository.update_table

    def update_table(self: Any, table: Any) -> Any:
        known = self.get_table(table.project_id, table.dataset_id, table.table_id)
        if known is not None and known.table_type == "TABLE":
            names = {field.name for field in known.schema_.fields}
            added = [tables._field_to_rest(field) for field in table.schema_.fields if field.name not in names]
            target = quoted_table_ref(table.project_id, table.dataset_id, table.table_id)
            for name, kind in bq_schema_to_duckdb_columns(added):
                nullable = kind.removesuffix(" NOT NULL")  # as in BigQuery, where a new column has to be NULLABLE
                self._engine.execute(f'ALTER TABLE {target} ADD COLUMN IF NOT EXISTS "{name}" {nullable}')
        return update(self, table)

    DuckDBCatalogRepository.update_table = update_table
