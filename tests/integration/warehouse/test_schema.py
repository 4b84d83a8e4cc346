"""Making and changing the warehouse."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace

import pytest
from google.cloud import bigquery

from shared.settings import BigQuerySettings
from shared.warehouse import schema, tables, views
from shared.warehouse.clients import bigquery_client
from shared.warehouse.columns import Column, ColumnType
from shared.warehouse.schema import Change, SchemaConflict, WarehouseUnreachable, ensure_warehouse, pending_changes
from tests.integration.warehouse.rows import append, query

ROW = {"update_id": "u", "event_id": "e", "kind": "cancel", "kafka_timestamp": 0, "kafka_offset": 0}


@pytest.fixture
def settings(bigquery_endpoints: BigQuerySettings, unique: str) -> BigQuerySettings:
    """An empty project."""
    return bigquery_endpoints.model_copy(update={"project": f"flit-schema-{unique}"})


def test_what_is_missing_is_made_and_a_second_time_changes_nothing(settings: BigQuerySettings) -> None:
    made = ensure_warehouse(settings)
    assert len(made) == len(tables.DATASETS) + len(tables.ALL) + len(views.ALL)
    assert ensure_warehouse(settings) == pending_changes(settings) == []


def test_asking_what_would_be_done_does_none_of_it(settings: BigQuerySettings) -> None:
    assert pending_changes(settings) == pending_changes(settings) != []
    assert list(bigquery_client(settings).list_datasets()) == []


def test_a_declared_column_is_added_and_rows_with_it_can_be_written(
    settings: BigQuerySettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    ensure_warehouse(settings)
    append(settings, tables.DECISION_UPDATES, [ROW])
    older = tables.DECISION_UPDATES
    newer = replace(older, columns=(*older.columns, Column("urgency", ColumnType.STRING, about="How soon")))
    monkeypatch.setattr(tables, "ALL", tuple(newer if table is older else table for table in tables.ALL))
    assert ensure_warehouse(settings) == [Change("add column", f"{newer.id}.urgency")]
    assert ensure_warehouse(settings) == []
    append(settings, newer, [{**ROW, "urgency": "high"}])
    append(settings, older, [ROW])  # a sink of the older version goes on meanwhile
    found = query(settings, f"SELECT urgency FROM `{{project}}.{newer.id}` ORDER BY urgency")
    assert [row["urgency"] for row in found] == [None, None, "high"]
    fields = {
        field.name: field for field in bigquery_client(settings).get_table(f"{settings.project}.{newer.id}").schema
    }
    assert fields["urgency"].description == "How soon"


def test_a_changed_view_is_replaced(settings: BigQuerySettings, monkeypatch: pytest.MonkeyPatch) -> None:
    ensure_warehouse(settings)
    older = views.DECISIONS_CURRENT
    newer = replace(older, sql=f"SELECT 1 AS one FROM `{{project}}.{tables.DECISIONS.id}`")
    monkeypatch.setattr(views, "ALL", tuple(newer if view is older else view for view in views.ALL))
    assert ensure_warehouse(settings) == [Change("replace view", older.id)]
    assert ensure_warehouse(settings) == []
    assert query(settings, f"SELECT one FROM `{{project}}.{older.id}`") == []


def test_a_table_of_another_shape_is_refused_and_left_as_it_is(settings: BigQuerySettings) -> None:
    client = bigquery_client(settings)
    client.create_dataset(bigquery.DatasetReference(settings.project, tables.ML))
    name = f"{settings.project}.{tables.DRIFT_METRICS.id}"
    client.create_table(bigquery.Table(name, schema=[bigquery.SchemaField("score", "STRING")]))
    with pytest.raises(SchemaConflict, match="drift_metrics"):
        ensure_warehouse(settings)
    assert [field.name for field in client.get_table(name).schema] == ["score"]


def test_a_warehouse_that_does_not_answer_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schema, "RETRY", None)
    away = BigQuerySettings(project="flit-away", rest_endpoint="http://127.0.0.1:9", grpc_endpoint="127.0.0.1:9")
    with pytest.raises(WarehouseUnreachable, match="flit-away"):
        pending_changes(away)


def test_the_command_makes_the_warehouse(settings: BigQuerySettings) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "shared.warehouse", "create"],
        env={
            **os.environ,
            "BIGQUERY__PROJECT": settings.project,
            "BIGQUERY__REST_ENDPOINT": settings.rest_endpoint,
            "BIGQUERY__GRPC_ENDPOINT": settings.grpc_endpoint,
        },
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "create view flit_ml.training_examples" in done.stderr
    assert pending_changes(settings) == []
