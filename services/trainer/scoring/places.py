"""Where rows come from and where they go: Parquet files, tables of BigQuery."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pyarrow
import pyarrow.parquet
from google.api_core.exceptions import NotFound
from google.cloud import bigquery

from services.trainer.data_commands import kept_at
from services.trainer.examples import FEATURE_PREFIX, TrainingRefused
from services.trainer.scoring.columns import FEATURE_SET, FEATURES, KEYS, InputRefused
from services.trainer.scoring.run import BATCH_ROWS, MODEL_VERSION
from services.trainer.warehouse import Warehouse, as_unavailable
from shared.warehouse import tables, views
from shared.warehouse.arrow import TYPES
from shared.warehouse.clients import CALL_TIMEOUT_S, RETRY
from shared.warehouse.columns import ColumnType
from shared.warehouse.schema import ALIASES

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
    if MODEL_VERSION not in {field.name for field in found.schema}:
        raise OutputRefused(f"{address} holds no scores: another table is never replaced")


def is_file(address: str) -> bool:
    return address.endswith(".parquet")


@contextmanager
def destination(warehouse: Warehouse, address: str, replace: bool) -> Iterator[Path]:
    """A Parquet file to write, which is then at the address as a whole, or nothing is: a file takes its place by a
    rename; a table's rows come by one load job."""
    if is_file(address):
        with kept_at(address) as path:
            yield path
        return
    with TemporaryDirectory() as folder:
        path = Path(folder) / "scores.parquet"
        yield path
        config = bigquery.LoadJobConfig(
            source_format=bigquery.SourceFormat.PARQUET,
            create_disposition=bigquery.CreateDisposition.CREATE_IF_NEEDED,
            write_disposition=(
                bigquery.WriteDisposition.WRITE_TRUNCATE if replace else bigquery.WriteDisposition.WRITE_EMPTY
            ),
        )
        with as_unavailable(warehouse.project), path.open("rb") as file:
            warehouse.client.load_table_from_file(
                file,
                f"{warehouse.project}.{address}",
                size=path.stat().st_size,
                # A name, so that an upload that is sent again loads nothing twice.
                job_id=f"flit_score_{uuid.uuid4().hex}",
                job_config=config,
                timeout=LOAD_TIMEOUT_S,
            ).result(retry=RETRY, timeout=LOAD_TIMEOUT_S)
