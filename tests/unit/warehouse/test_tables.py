"""The declarations: what the contract says of them, and what they ask of rows."""

from __future__ import annotations

import re
from decimal import Decimal

import pyarrow as pa
import pytest

from shared.contracts import topics
from shared.policy.reasons import PolicyReason
from shared.warehouse import tables, views
from shared.warehouse.arrow import record_batch, schema_of
from shared.warehouse.columns import RowInvalid, Table

ROW = {"update_id": "u", "event_id": "e", "kind": "cancel", "kafka_timestamp": 1}


def test_every_name_of_the_contract_is_declared_and_no_other() -> None:
    assert {table.id for table in tables.ALL} == {
        "flit_bnpl_raw.raw_bnpl_txs_json", "flit_bnpl_raw.transactions", "flit_bnpl_raw.outcomes",
        "flit_ml_raw.features", "flit_ml_raw.raw_bnpl_prediction_logs", "flit_ml_raw.decision_updates",
        "flit_ml_raw.dead_letters", "flit_ml_raw.model_evaluations", "flit_ml.drift_metrics",
        "flit_ml.model_performance", "flit_ml.drift_histograms",
        "flit_ml_raw.erasures",
    }  # fmt: skip
    assert {view.id for view in views.ALL} == {
        "flit_bnpl_raw.raw_bnpl_txs_with_outcomes", "flit_ml.transactions_current", "flit_ml.decisions_current",
        "flit_ml.training_examples",
    }  # fmt: skip


def test_a_purchase_approved_by_chance_is_known_by_the_policys_own_reason() -> None:
    assert f'"{PolicyReason.EXPLORATION.reason.code}"' in views.TRAINING_EXAMPLES.sql


def test_the_raw_table_is_what_the_dbt_project_knows() -> None:
    first = [(column.name, column.type.value, column.required) for column in tables.RAW_TRANSACTIONS.columns[:3]]
    assert first == [
        ("_timestamp", "TIMESTAMP", True), ("json_body", "JSON", True), ("_ingestion_timestamp", "TIMESTAMP", True),
    ]  # fmt: skip
    assert tables.RAW_TRANSACTIONS.partition_by == "_timestamp"
    assert tables.RAW_TRANSACTIONS.partition_filter_required


def test_every_topic_is_mirrored_and_every_streamed_row_says_where_it_lay() -> None:
    assert {table.topic for table in tables.STREAMED} == {topic.name for topic in topics.ALL}
    for table in tables.STREAMED:
        names = [column.name for column in table.columns]
        assert {"kafka_topic", "kafka_partition", "kafka_offset", "load_id"} <= set(names), table.id


@pytest.mark.parametrize("table", tables.ALL, ids=lambda table: table.id)
def test_a_table_is_partitioned_by_a_required_time_and_names_each_column_once(table: Table) -> None:
    columns = {column.name: column for column in table.columns}
    assert len(columns) == len(table.columns)
    assert columns[table.partition_by].required
    assert columns[table.partition_by].type == "TIMESTAMP"
    assert set(table.cluster_by) <= columns.keys()
    assert len(table.cluster_by) <= 4, "BigQuery clusters by four at most"


def test_every_field_of_every_block_has_a_typed_column() -> None:
    kinds = {column.name: column.type.value for column in tables.TRANSACTIONS.columns}
    assert kinds["installments_count"] == "INT64"
    assert kinds["customer_age_bracket"] == "STRING"
    assert kinds["device_is_trusted"] == "BOOL"
    assert kinds["payment_credit_limit"] == "FLOAT64"
    assert kinds["source_scores_risk_level"] == "STRING"
    assert kinds["amount"] == "NUMERIC"


def test_a_row_without_a_required_value_or_with_an_unknown_name_is_refused() -> None:
    tables.DECISION_UPDATES.check(ROW)
    for wrong in ({**ROW, "kind": None}, {**ROW, "colour": "red"}):
        with pytest.raises(RowInvalid):
            tables.DECISION_UPDATES.check(wrong)


@pytest.mark.parametrize("change", [{"note": 5}, {"kafka_offset": 2**70}, {"kafka_offset": "7"}, {"updated_at": "now"}])
def test_a_value_of_a_wrong_type_is_refused(change: dict[str, object]) -> None:
    with pytest.raises(RowInvalid):
        record_batch(tables.DECISION_UPDATES, [{**ROW, **change}])


def test_an_amount_keeps_every_digit() -> None:
    row = {"event_id": "e", "occurred_at": 0, "kafka_timestamp": 0, "amount": Decimal("99999.99")}
    batch = record_batch(tables.TRANSACTIONS, [row])
    assert batch.column("amount")[0].as_py() == Decimal("99999.99")
    assert schema_of(tables.TRANSACTIONS).field("occurred_at").type == pa.timestamp("us", tz="UTC")


def test_a_view_reads_only_columns_and_relations_that_are_declared() -> None:
    known = {table.id for table in tables.ALL}
    for view in views.ALL:
        read = set(re.findall(r"`\{project\}\.([a-z_.]+)`", view.sql))
        assert read, view.id
        assert read <= known, view.id
        known.add(view.id)
        assert "{project}" not in view.query("some-project")
