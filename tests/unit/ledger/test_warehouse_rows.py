"""Which rows are of which record, and how tables are asked."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pyarrow as pa
import pytest
from google.cloud import bigquery
from google.cloud.bigquery_storage_v1 import BigQueryReadClient, types

from services.ledger.checks import LOADED, NOWHERE, Rows
from services.ledger.content import columns_of
from services.ledger.warehouse_rows import ever, rows_of
from shared.warehouse import tables
from shared.warehouse.columns import Table


def declared(table: Table) -> bigquery.Table:
    """As BigQuery describes it."""
    schema = [
        bigquery.SchemaField(column.name, "STRING", "REQUIRED" if column.required else "NULLABLE")
        for column in table.columns
    ]
    described = bigquery.Table(f"p.{table.id}", schema)
    described.time_partitioning = bigquery.TimePartitioning(field=table.partition_by)
    return described


class Reads:
    """The Storage Read API with one stream of one page."""

    def __init__(self, rows: list[dict[str, Any]]) -> None:
        self._page = SimpleNamespace(to_arrow=lambda: pa.RecordBatch.from_pylist(rows))
        self.asked: list[types.ReadSession] = []

    def create_read_session(self, *, read_session: types.ReadSession, **_: Any) -> Any:
        self.asked.append(read_session)
        return SimpleNamespace(streams=[SimpleNamespace(name="one")])

    def read_rows(self, name: str, **_: Any) -> Any:
        assert name == "one"
        return SimpleNamespace(rows=lambda _: SimpleNamespace(pages=[self._page]))


def held(table: Table, rows: list[dict[str, Any]]) -> tuple[Rows, types.ReadSession]:
    reads = Reads(rows)
    client = SimpleNamespace(project="p", get_table=lambda *_, **__: declared(table))
    found = rows_of(cast(bigquery.Client, client), cast(BigQueryReadClient, reads), table.id)
    return found, reads.asked[0]


LETTER = {"event_id": "e", "kafka_partition": 1, "kafka_offset": 2, "load_id": None}


@pytest.mark.parametrize(
    ("table", "row", "place"),
    [
        (tables.DECISION_UPDATES, {}, (1, 2)),
        (tables.DECISION_UPDATES, {"kafka_offset": None, "kafka_partition": None}, NOWHERE),
        (tables.DECISION_UPDATES, {"kafka_offset": None, "load_id": "x"}, NOWHERE),
        (tables.FEATURES, {"kafka_offset": None, "load_id": None}, NOWHERE),
        (tables.FEATURES, {"kafka_offset": None, "load_id": "x"}, None),
    ],
)
def test_a_row_is_its_records_or_loaded_where_that_is_done_or_nobodys(
    table: Table, row: dict[str, Any], place: tuple[int, int] | None
) -> None:
    found, _ = held(table, [dict.fromkeys(columns_of(table.id)) | LETTER | row])
    assert set(found) == ({place} if place else set())


@pytest.mark.parametrize(
    "table", [each for each in tables.ALL if each.partition_filter_required], ids=lambda one: one.id
)
def test_a_table_that_requires_a_condition_is_read_with_one_that_every_row_meets(table: Table) -> None:
    assert ever(declared(table)) == table.ever
    _, session = held(table, [])
    assert session.read_options.row_restriction == table.ever
    assert "kafka_offset" in session.read_options.selected_fields


def test_a_table_whose_rows_need_no_day_is_read_without() -> None:
    described = declared(tables.DECISION_UPDATES)
    described.schema = [bigquery.SchemaField(each.name, "STRING") for each in described.schema]
    assert ever(described) == ""


def test_tables_with_loaded_rows_are_tables() -> None:
    assert {table.id for table in tables.ALL} >= LOADED
