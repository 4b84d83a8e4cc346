"""Columns whose names BigQuery reserves: it takes them in quotes alone, while its emulator takes them in any way."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from shared.warehouse import tables

RESERVED = frozenset(
    re.findall(
        r"\w+",
        """
        all and any array as asc assert_rows_modified at between by case cast collate contains create cross cube current
        default define desc distinct else end enum escape except exclude exists extract false fetch following for from
        full group grouping groups hash having if ignore in inner intersect interval into is join lateral left like
        limit lookup merge natural new no not null nulls of on or order outer over partition preceding proto qualify
        range recursive respect right rollup rows select set some struct tablesample then to treat true unbounded union
        unnest using when where window with within
        """,
    )
)
"""https://cloud.google.com/bigquery/docs/reference/standard-sql/lexical#reserved_keywords"""

NAMES = sorted({column.name for table in tables.ALL for column in table.columns} & RESERVED)
BARE = re.compile(rf"(?<![`\w.])(?:{'|'.join(NAMES)})(?![`\w])")
"""As a name: keywords are in capitals in our SQL."""
ALIAS = re.compile(rf"\bAS (?:{'|'.join(sorted(RESERVED))})\b(?!`)")
"""What a query calls something itself. `AS STRUCT`, `AS ARRAY` and the like are in capitals."""

SOURCES = [path for folder in ("services", "shared", "deploy") for path in sorted(Path(folder).rglob("*.py"))]


def queries(source: str) -> Iterator[str]:
    """Texts of a module that are SQL, with what is put into them later left out."""
    for node in ast.walk(ast.parse(source)):
        parts = node.values if isinstance(node, ast.JoinedStr) else [node]
        text = " ".join(each.value for each in parts if isinstance(each, ast.Constant) and isinstance(each.value, str))
        if re.search(r"\bSELECT\b.*\bFROM\b", text, re.DOTALL):
            yield text


def test_there_is_such_a_column() -> None:
    assert NAMES == ["rows"]


@pytest.mark.parametrize("bare", ["SELECT day, rows, arrived FROM t", "SELECT SUM(rows) FROM t WHERE rows > 1"])
def test_a_bare_one_is_found(bare: str) -> None:
    assert all(BARE.search(query) for query in queries(f'X = f"""{bare} {{y}}"""'))
    assert list(queries(f'X = "{bare}"'))


def test_an_alias_that_is_reserved_is_found() -> None:
    (query,) = queries('X = "SELECT MAX(p) AS partition FROM t"')
    assert ALIAS.search(query) and not BARE.search(query)


def test_none_stands_in_a_query_without_quotes() -> None:
    found = [
        f"{path}: {query.strip()[:80]}"
        for path in SOURCES
        for query in queries(path.read_text())
        if BARE.search(query) or ALIAS.search(query)
    ]
    assert not found
