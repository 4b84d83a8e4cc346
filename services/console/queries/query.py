"""A question to the warehouse, as a value: the same question has the same answer for as long as that is kept."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from shared.warehouse.columns import Table

DAY_S = 86_400

Value = str | int | float | datetime | tuple[str, ...]
Row = Mapping[str, Any]
"""A row by column: TIMESTAMP as a datetime with its zone, NUMERIC as a Decimal, JSON as what it holds."""


@dataclass(frozen=True, slots=True)
class Query:
    sql: str
    """`{project}` stands for the project, `@name` for a value."""
    values: tuple[tuple[str, Value], ...] = ()


def query(sql: str, **values: Value) -> Query:
    return Query(sql, tuple(values.items()))


def at(table: Table) -> str:
    """The table's name in a query."""
    return f"`{{project}}.{table.id}`"


def within(column: str, since: datetime, until: datetime) -> str:
    """A condition: in [since, until), as text. Of so many pairs of values each would need a name."""
    return f"({column} >= TIMESTAMP '{since.isoformat()}' AND {column} < TIMESTAMP '{until.isoformat()}')"
