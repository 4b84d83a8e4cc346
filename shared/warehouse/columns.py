"""What a table is made of. Pure: imports no client."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from typing import Any

CHAIN_NAME = "chain_sha256"
"""The column that holds a row's link to the one before."""


class ColumnType(StrEnum):
    """A BigQuery type, and what a row holds for it: TIMESTAMP whole microseconds since 1970, JSON its text, NUMERIC a
    Decimal of at most nine decimals."""

    STRING = "STRING"
    INT64 = "INT64"
    FLOAT64 = "FLOAT64"
    BOOL = "BOOL"
    NUMERIC = "NUMERIC"
    TIMESTAMP = "TIMESTAMP"
    JSON = "JSON"


@dataclass(frozen=True, slots=True)
class Column:
    name: str
    type: ColumnType
    required: bool = False
    about: str = ""
    personal: bool = False
    """Says who a person is, or what is known of one: emptied where a customer is erased."""

    @property
    def empty(self) -> str:
        """What is then in its place, as SQL. Raises ValueError where nothing can be."""
        if not self.required:
            return "NULL"
        if self.type is ColumnType.JSON:
            return "PARSE_JSON('{}')"
        raise ValueError(f"{self.name} is personal, required, and has no empty value")


Row = dict[str, Any]
"""A row by column name; a name left out is NULL."""


class RowInvalid(ValueError):
    """A row that the warehouse would refuse, or worse, take: the emulator enforces less than Google does."""


@dataclass(frozen=True, slots=True)
class Table:
    """A table. `partition_by`: a TIMESTAMP column, by day."""

    dataset: str
    name: str
    about: str
    columns: tuple[Column, ...]
    partition_by: str
    cluster_by: tuple[str, ...] = ()
    partition_filter_required: bool = False
    topic: str | None = None
    """The topic that it mirrors, where it is streamed."""

    def __hash__(self) -> int:
        # By name: rows are gathered by table, and going through all columns would cost as much as decoding one.
        return hash(self.id)

    @property
    def id(self) -> str:
        """`dataset.table`."""
        return f"{self.dataset}.{self.name}"

    @property
    def ever(self) -> str:
        """A condition on its days that every row meets: a table may require one, and what tells the rows is another."""
        return f"{self.partition_by} >= TIMESTAMP '0001-01-01 00:00:00+00'"

    @property
    def personal(self) -> tuple[Column, ...]:
        return tuple(column for column in self.columns if column.personal)

    @property
    def emptying(self) -> str:
        """What an UPDATE sets to empty the personal columns."""
        return ", ".join(f"{column.name} = {column.empty}" for column in self.personal)

    @property
    def chained(self) -> bool:
        """Whether each row's link covers the one before it (services/sink/chain.py)."""
        return any(column.name == CHAIN_NAME for column in self.columns)

    def check(self, row: Mapping[str, Any]) -> None:
        """Raise RowInvalid where a required value is absent or a name isn't declared.

        Types are checked when the row is turned into Arrow, which takes no other.
        """
        names, required = _names_of(self)
        for name in required:
            if row.get(name) is None:
                raise RowInvalid(f"{self.id}.{name} is required")
        if unknown := row.keys() - names:
            raise RowInvalid(f"{self.id} has no column {', '.join(sorted(unknown))}")


@cache
def _names_of(table: Table) -> tuple[frozenset[str], tuple[str, ...]]:
    """Of all columns, and of those that are required."""
    return (
        frozenset(column.name for column in table.columns),
        tuple(column.name for column in table.columns if column.required),
    )
