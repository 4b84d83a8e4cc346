"""Where rows come from and where they go: Parquet files, tables of BigQuery."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pyarrow
import pyarrow.parquet
from google.api_core.exceptions import NotFound
from google.cloud import bigquery
from google.cloud.bigquery import SchemaField

from services.trainer.data_commands import kept_at
from services.trainer.examples import FEATURE_PREFIX, TrainingRefused
from services.trainer.scoring.columns import FEATURE_SET, FEATURES, KEYS, InputRefused, is_text
from services.trainer.scoring.run import BATCH_ROWS, MODEL_VERSION, PROBABILITY, RAW
from services.trainer.warehouse import Warehouse, as_unavailable, scratch_name
from shared.warehouse import tables, views
from shared.warehouse.arrow import TYPES
from shared.warehouse.clients import CALL_TIMEOUT_S, RETRY
from shared.warehouse.columns import ColumnType
from shared.warehouse.schema import ALIASES
from shared.warehouse.scratch import SCRATCH_HOURS

PAGE_BYTES = 1 << 20
"""Of a column that is read at once. Without it a file of one row group would be in memory as a whole."""

LOAD_TIMEOUT_S = 3600.0
"""For a file of gigabytes."""


class OutputRefused(TrainingRefused):
    """A place that must not be written to."""


@dataclass(frozen=True)
class Source:
    rows: int
    batches: Iterator[pyarrow.RecordBatch]


def parquet_schema(path: Path) -> pyarrow.Schema:
    """Raises InputRefused where it is no such file."""
    try:
        return pyarrow.parquet.read_schema(path)
    except (OSError, pyarrow.ArrowInvalid) as error:
        raise InputRefused(f"{path} can't be read: {error}") from None


def parquet(path: Path, columns: list[str]) -> Source:
    """The columns of a file that `parquet_schema` could read."""
    file = pyarrow.parquet.ParquetFile(path, buffer_size=PAGE_BYTES, pre_buffer=False)

    def batches() -> Iterator[pyarrow.RecordBatch]:
        try:
            yield from file.iter_batches(batch_size=BATCH_ROWS, columns=columns, use_threads=False)
        except (OSError, pyarrow.ArrowInvalid) as error:
            raise InputRefused(f"{path} can't be read to its end: {error}") from None

    return Source(file.metadata.num_rows, batches())


def table_schema(warehouse: Warehouse, name: str) -> pyarrow.Schema:
    """Of the columns that scoring looks at, as they are read. Raises InputRefused, WarehouseUnavailable."""
    return pyarrow.schema([(field.name, _read_as(field.field_type)) for field in _fields(warehouse, name)])


def _read_as(kind: str) -> pyarrow.DataType:
    """Of a type as the API calls it; null of one that no column of ours has, which nobody takes for numbers or text."""
    try:
        column = ColumnType(ALIASES.get(kind, kind))
    except ValueError:
        return pyarrow.null()
    return TYPES[column]


def _fields(warehouse: Warehouse, name: str) -> list[Any]:
    full_name = f"{warehouse.project}.{name}"
    with as_unavailable(warehouse.project):
        try:
            found = warehouse.client.get_table(full_name, retry=RETRY, timeout=CALL_TIMEOUT_S).schema
        except NotFound:
            raise InputRefused(f"there is no table {name}") from None
    # Of a view the emulator tells no columns.
    found = found or warehouse.columns(f"SELECT * FROM `{full_name}` LIMIT 0")
    # A table of the warehouse has many columns that say nothing about its features.
    mine = {*KEYS, FEATURE_SET, FEATURES}
    in_json = any(field.name == FEATURES for field in found)
    return [field for field in found if field.name in mine or (field.name.startswith(FEATURE_PREFIX) and not in_json)]


@contextmanager
def table(warehouse: Warehouse, name: str, columns: list[str]) -> Iterator[Source]:
    """The columns of a table or a view, as it is now. Raises WarehouseUnavailable."""
    kinds = {field.name: field.field_type for field in _fields(warehouse, name)}
    wanted = ", ".join(f"TO_JSON_STRING({each}) AS {each}" if kinds[each] == "JSON" else each for each in columns)
    with warehouse.batches(f"SELECT {wanted} FROM `{warehouse.project}.{name}`") as (rows, batches):
        yield Source(rows, batches)


def check_output(warehouse: Warehouse, address: str, replace: bool) -> None:
    """Raises OutputRefused where something stands there that isn't to be replaced, before any work is done."""
    if is_file(address):
        if not replace and not address.startswith("gs://") and Path(address).exists():
            raise OutputRefused(f"{address} is there already: --replace takes its place")
        return
    if address in {table.id for table in tables.ALL} | {view.id for view in views.ALL}:
        raise OutputRefused(f"{address} is a table of the system itself")
    dataset, _, _ = address.partition(".")
    with as_unavailable(warehouse.project):
        try:
            warehouse.client.get_dataset(dataset, retry=RETRY, timeout=CALL_TIMEOUT_S)
        except NotFound:
            raise OutputRefused(f"there is no dataset {dataset}, and a file ends in .parquet") from None
        try:
            found = warehouse.client.get_table(f"{warehouse.project}.{address}", retry=RETRY, timeout=CALL_TIMEOUT_S)
        except NotFound:
            return
    if not replace:
        raise OutputRefused(f"{address} is there already: --replace takes its place")
    # All of what scoring adds: decisions name their model as well.
    if not {MODEL_VERSION, RAW, PROBABILITY} <= {field.name for field in found.schema}:
        raise OutputRefused(f"{address} holds no scores: another table is never replaced")


def is_file(address: str) -> bool:
    return address.endswith(".parquet")


@contextmanager
def destination(warehouse: Warehouse, address: str, schema: pyarrow.Schema, replace: bool) -> Iterator[Path]:
    """A Parquet file to write, which is then at the address as a whole, or nothing is: a file takes its place by a
    rename; a table's rows come from a table aside. Raises OutputRefused where a table can't hold such columns."""
    if is_file(address):
        with kept_at(address) as path:
            yield path
        return
    fields = [_field(column) for column in schema]
    with TemporaryDirectory() as folder:
        path = Path(folder) / "scores.parquet"
        yield path
        with as_unavailable(warehouse.project):
            _load(warehouse, path, fields, address, replace)


def _load(warehouse: Warehouse, path: Path, fields: list[SchemaField], address: str, replace: bool) -> None:
    """By a load job into a table aside, and from there by one statement: the emulator knows neither how to make a table
    by a load job nor how to put rows in place of others in one step."""
    client, name = warehouse.client, scratch_name(warehouse.project)
    aside = bigquery.Table(name, schema=fields)
    aside.expires = datetime.now(UTC) + timedelta(hours=SCRATCH_HOURS)
    config = bigquery.LoadJobConfig(
        schema=fields,
        source_format=bigquery.SourceFormat.PARQUET,
        write_disposition=bigquery.WriteDisposition.WRITE_APPEND,
        create_disposition=bigquery.CreateDisposition.CREATE_NEVER,
    )
    client.create_table(aside, retry=RETRY, timeout=CALL_TIMEOUT_S)
    try:
        with path.open("rb") as file:
            client.load_table_from_file(
                file,
                aside,
                size=path.stat().st_size,
                # A name, so that an upload that is sent again loads nothing twice.
                job_id=f"flit_score_{uuid.uuid4().hex}",
                job_config=config,
                timeout=LOAD_TIMEOUT_S,
            ).result(retry=RETRY, timeout=LOAD_TIMEOUT_S)
        # Without "or replace" it fails where somebody has made a table of that name meanwhile.
        create = "CREATE OR REPLACE TABLE" if replace else "CREATE TABLE"
        client.query(
            f"{create} `{warehouse.project}.{address}` AS SELECT * FROM `{name}`",
            retry=RETRY,
            timeout=CALL_TIMEOUT_S,
        ).result(timeout=LOAD_TIMEOUT_S)
    finally:
        client.delete_table(aside, not_found_ok=True, retry=RETRY, timeout=CALL_TIMEOUT_S)


def _field(column: pyarrow.Field) -> SchemaField:
    kind = column.type
    for fits, name in _KINDS.items():
        if fits(kind):
            return SchemaField(column.name, name)
    raise OutputRefused(f"column {column.name} holds {kind}, which no column of a table takes: write a file")


_KINDS: dict[Callable[[pyarrow.DataType], bool], str] = {
    is_text: ColumnType.STRING.value,
    pyarrow.types.is_integer: ColumnType.INT64.value,
    pyarrow.types.is_floating: ColumnType.FLOAT64.value,
    lambda kind: pyarrow.types.is_timestamp(kind) and kind.tz is not None: ColumnType.TIMESTAMP.value,
}
