"""Rows in bulk, by load jobs: a job's rows are there as a whole or not at all, and never twice.

A job has the name of what it brings. Who asks for it again, since the answer was lost or the asker was killed, waits
for the first one. Where its rows were deleted since, another is needed, under another name.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec
from google.api_core.exceptions import Conflict, GoogleAPICallError
from google.cloud import bigquery

from shared.contracts.identity import from_epoch_micros
from shared.warehouse.clients import CALL_TIMEOUT_S, RETRY
from shared.warehouse.columns import ColumnType, Row, Table
from shared.warehouse.schema import field_of

JOB_TIMEOUT_S = 300.0
ATTEMPTS = 20
"""Each under a name of its own, for a job keeps its name for months: how often the same rows may be loaded, counting
jobs that failed and those whose rows were deleted."""


class LoadGaveUp(Exception):
    """The same rows were tried too often: a person has to look why."""


_encoder = msgspec.json.Encoder()
_PLAIN: Mapping[ColumnType, Callable[[Any], Any]] = {
    ColumnType.TIMESTAMP: from_epoch_micros,
    ColumnType.NUMERIC: str,
    ColumnType.JSON: lambda text: msgspec.Raw(text.encode()),
}


def load_rows(
    client: bigquery.Client, table: Table, rows: Sequence[Row], *, key: str, present: Callable[[], bool]
) -> None:
    """Append the rows, and return once they are there. Blocks.

    `key`: tells these rows from all others of the table. `present`: whether the table has them, asked only after a job
    that had brought them is over. Raises RowInvalid for a row that the table doesn't take, and what the client raises.
    """
    if not rows:
        return
    for row in rows:
        table.check(row)
    lines = ndjson(table, rows)
    named = {name for row in rows for name in row}
    config = bigquery.LoadJobConfig(
        schema=[field_of(column) for column in table.columns if column.name in named],
        source_format=bigquery.SourceFormat.NEWLINE_DELIMITED_JSON,
        write_disposition=bigquery.WriteDisposition.WRITE_APPEND,
        create_disposition=bigquery.CreateDisposition.CREATE_NEVER,
    )
    name = hashlib.sha256(f"{table.id}\n{key}".encode()).hexdigest()[:40]
    for attempt in range(ATTEMPTS):
        job_id = f"flit_load_{name}_{attempt}"
        try:
            _begin(client, table, lines, config, job_id).result(retry=RETRY, timeout=JOB_TIMEOUT_S)
            return
        except Conflict:
            # Outside of the US and the EU a job is found only by who says where.
            where = client.get_table(f"{client.project}.{table.id}", retry=RETRY, timeout=CALL_TIMEOUT_S).location
            earlier = client.get_job(job_id, location=where, retry=RETRY, timeout=CALL_TIMEOUT_S)
            if _succeeded(earlier) and present():
                return
    raise LoadGaveUp(f"{table.id}: {ATTEMPTS} load jobs of these rows have failed, or their rows were deleted")


def _succeeded(earlier: bigquery.LoadJob) -> bool:
    """Wait for the end of a job that somebody began before."""
    try:
        earlier.result(retry=RETRY, timeout=JOB_TIMEOUT_S)
    except GoogleAPICallError:
        if earlier.error_result is None:
            raise  # not the job has failed, but our asking for it
        return False
    return True


def ndjson(table: Table, rows: Sequence[Row]) -> bytes:
    """A line for each row, as a load job reads them; a value that is None is left out."""
    plain = {column.name: _PLAIN[column.type] for column in table.columns if column.type in _PLAIN}

    def line(row: Row) -> bytes:
        values = {
            name: plain[name](value) if name in plain else value for name, value in row.items() if value is not None
        }
        return _encoder.encode(values) + b"\n"

    return b"".join(map(line, rows))


def _begin(
    client: bigquery.Client, table: Table, lines: bytes, config: bigquery.LoadJobConfig, job_id: str
) -> bigquery.LoadJob:
    return client.load_table_from_file(
        io.BytesIO(lines),
        f"{client.project}.{table.id}",
        size=len(lines),
        job_id=job_id,
        job_config=config,
        timeout=JOB_TIMEOUT_S,
    )
