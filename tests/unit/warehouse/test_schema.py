"""Only additions: any other difference between a table and its declaration is refused, with its name."""

from __future__ import annotations

import pytest
from google.auth.exceptions import DefaultCredentialsError, RefreshError
from google.cloud import bigquery

from shared.settings import BigQuerySettings
from shared.warehouse import schema
from shared.warehouse.__main__ import describe
from shared.warehouse.columns import Column
from shared.warehouse.schema import SchemaConflict, missing_columns
from shared.warehouse.tables import ALL, OUTCOMES


def found(**changes: str | None) -> bigquery.Table:
    """`outcomes` as the API tells of it; a column's mode or type changed, or the column left out (None)."""
    fields = []
    for column in OUTCOMES.columns:
        mode = "REQUIRED" if column.required else "NULLABLE"
        kind: str = {"INT64": "INTEGER", "BOOL": "BOOLEAN"}.get(column.type.value, column.type.value)
        if column.name in changes:
            change = changes[column.name]
            if change is None:
                continue
            mode, kind = (change, kind) if change in ("REQUIRED", "NULLABLE") else (mode, change)
        fields.append(bigquery.SchemaField(column.name, kind, mode))
    table = bigquery.Table(f"p.{OUTCOMES.id}", schema=fields)
    table.time_partitioning = bigquery.TimePartitioning(field=OUTCOMES.partition_by)
    return table


@pytest.mark.parametrize("error", [DefaultCredentialsError("none"), RefreshError("expired")], ids=["none", "expired"])
def test_without_credentials_the_warehouse_is_away(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def nobody(settings: BigQuerySettings) -> bigquery.Client:
        raise error

    monkeypatch.setattr(schema, "bigquery_client", nobody)
    for look in (schema.pending_changes, schema.ensure_warehouse):
        with pytest.raises(schema.WarehouseUnreachable, match=str(error)):
            look(BigQuerySettings())


def test_a_table_as_declared_lacks_nothing_whatever_names_its_types_go_by() -> None:
    assert missing_columns(OUTCOMES, found()) == []


def test_a_column_that_is_missing_is_to_be_added() -> None:
    missing = missing_columns(OUTCOMES, found(load_id=None, misplaced=None))
    assert [column.name for column in missing] == ["misplaced", "load_id"]
    assert all(isinstance(column, Column) for column in missing)


def test_a_column_of_a_newer_version_is_left_alone() -> None:
    table = found()
    table.schema = [*table.schema, bigquery.SchemaField("from_the_future", "STRING")]
    assert missing_columns(OUTCOMES, table) == []


@pytest.mark.parametrize(
    ("change", "names"),
    [
        ({"defaulted": "STRING"}, "outcomes.defaulted is STRING"),
        ({"defaulted": "NULLABLE"}, "outcomes.defaulted is NULLABLE"),
        ({"customer_id": "REQUIRED"}, "outcomes.customer_id is REQUIRED"),
        ({"event_id": None}, "outcomes.event_id is REQUIRED and can't be added"),
    ],
)
def test_any_other_difference_is_refused_by_name(change: dict[str, str | None], names: str) -> None:
    with pytest.raises(SchemaConflict, match=names):
        missing_columns(OUTCOMES, found(**change))


def test_another_partitioning_is_refused() -> None:
    table = found()
    table.time_partitioning = bigquery.TimePartitioning(field="kafka_timestamp")
    with pytest.raises(SchemaConflict, match="partitioned by kafka_timestamp"):
        missing_columns(OUTCOMES, table)


def test_the_description_names_every_table_and_column() -> None:
    text = describe()
    for table in ALL:
        assert table.id in text
        assert all(column.name in text for column in table.columns)
