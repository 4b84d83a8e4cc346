"""Rows to Arrow, as the Storage Write API takes them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import pyarrow as pa

from shared.warehouse.columns import ColumnType, RowInvalid, Table

TYPES: dict[ColumnType, pa.DataType] = {
    ColumnType.STRING: pa.string(),
    ColumnType.INT64: pa.int64(),
    ColumnType.FLOAT64: pa.float64(),
    ColumnType.BOOL: pa.bool_(),
    ColumnType.NUMERIC: pa.decimal128(38, 9),
    ColumnType.TIMESTAMP: pa.timestamp("us", tz="UTC"),
    ColumnType.JSON: pa.string(),
}


@cache
def schema_of(table: Table) -> pa.Schema:
    """The table's columns in their declared order."""
    return pa.schema(
        [pa.field(column.name, TYPES[column.type], nullable=not column.required) for column in table.columns]
    )


def record_batch(table: Table, rows: Sequence[Mapping[str, Any]]) -> pa.RecordBatch:
    """n rows as one record batch. Raises RowInvalid for a value of a wrong type or beyond its range."""
    try:
        return pa.RecordBatch.from_pylist(list(rows), schema=schema_of(table))
    except (pa.ArrowInvalid, pa.ArrowTypeError, TypeError, OverflowError) as error:
        raise RowInvalid(f"{table.id}: {error}") from error
