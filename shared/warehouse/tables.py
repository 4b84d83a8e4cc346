"""Every table of the warehouse, declared once. Pure: imports no client.

To add a column, add it here and run `python -m shared.warehouse create`: additions are made in place, anything else is
refused. A column that rows already lack can't be REQUIRED.
"""

from __future__ import annotations

import types
import typing
from typing import Any

import msgspec

from shared.contracts import topics
from shared.contracts.enumerations import BLOCK_TYPES
from shared.warehouse.columns import CHAIN_NAME, Column, ColumnType, Table

_T = ColumnType

BNPL_RAW, ML_RAW, ML = "flit_bnpl_raw", "flit_ml_raw", "flit_ml"
DATASETS: dict[str, str] = {
    BNPL_RAW: "Purchases and outcomes as they came",
    ML_RAW: "Features, decisions and what became of them, as they came",
    ML: "One row for each event, and the examples to learn from",
}

PLACE = (
    Column("kafka_topic", _T.STRING, about="Where the record lay; NULL in a row that was loaded in bulk"),
    Column("kafka_partition", _T.INT64),
    Column("kafka_offset", _T.INT64),
    Column("load_id", _T.STRING, about="The bulk load that brought the row, instead of a place in Kafka"),
)
"""Where a row came from: what makes it possible to prove that each record has exactly one."""

LOADED = (
    Column("load_partition", _T.INT64, about="Where a row loaded in bulk would lie in Kafka, so whose state it is in"),
    Column("load_row", _T.INT64, about="Its place within the load"),
)
"""Of what states are made of: rows without a place in Kafka have an order too."""

ARRIVED = Column("kafka_timestamp", _T.TIMESTAMP, required=True, about="Of the Kafka record")
MISPLACED = Column(
    "misplaced",
    _T.BOOL,
    about="Lay in another partition than its key belongs to, and was sent again to the right one: views pass it over",
)
CHAIN = Column(
    CHAIN_NAME,
    _T.STRING,
    about="SHA-256 of `<chain_sha256 of the row before>:<kafka_offset>:<record_sha256>`, by partition; before the "
    "first stands that of `<kafka_topic>:<kafka_partition>`; NULL in rows that aren't in the chain",
)
BY_PLACE = ("kafka_partition", "kafka_offset")
"""Clustering of streamed tables: taking a partition over and reconciling it read a few blocks, not the whole table."""

_PYTHON_TYPES: dict[type, ColumnType] = {str: _T.STRING, int: _T.INT64, float: _T.FLOAT64, bool: _T.BOOL}


def _column_type(annotation: Any) -> ColumnType:
    """Of an annotation such as `int | None`."""
    parts = typing.get_args(annotation) if isinstance(annotation, types.UnionType) else (annotation,)
    return next(_PYTHON_TYPES[part] for part in parts if part is not types.NoneType)


_PERSONAL_FIELDS = frozenset({("device", "id"), ("payment", "method_id")})
"""Of blocks that are otherwise about a purchase. The block `customer` is personal as a whole."""


def _block_columns() -> tuple[Column, ...]:
    """A column `<block>_<field>` for each field of a transaction's blocks."""
    return tuple(
        Column(
            f"{block}_{name}",
            _column_type(annotation),
            personal=block == "customer" or (block, name) in _PERSONAL_FIELDS,
        )
        for block, kind in BLOCK_TYPES.items()
        for name, annotation in typing.get_type_hints(kind).items()
        if name in {field.name for field in msgspec.structs.fields(kind)}
    )


RAW_TRANSACTIONS = Table(
    BNPL_RAW,
    "raw_bnpl_txs_json",
    "Purchases with the flat field names of simtom, for dbt to flatten; no labels",
    (
        Column("_timestamp", _T.TIMESTAMP, required=True, about="Of the event"),
        Column("json_body", _T.JSON, required=True, about="simtom's flat fields, unknown ones included", personal=True),
        Column("_ingestion_timestamp", _T.TIMESTAMP, required=True, about="Of the Kafka record"),
        Column("event_id", _T.STRING),
        *PLACE,
    ),
    partition_by="_timestamp",
    cluster_by=BY_PLACE,
    partition_filter_required=True,
    topic=topics.TRANSACTIONS.name,
)

TRANSACTIONS = Table(
    BNPL_RAW,
    "transactions",
    "Purchases, a column for each field; as accepted, so unknown categories are `unknown`",
    (
        Column("event_id", _T.STRING, required=True),
        Column("source", _T.STRING),
        Column("transaction_id", _T.STRING, personal=True),
        Column("customer_id", _T.STRING, personal=True),
        Column("occurred_at", _T.TIMESTAMP, required=True),
        Column("amount", _T.NUMERIC, about="In `currency`, exact"),
        Column("currency", _T.STRING),
        Column("status", _T.STRING),
        *_block_columns(),
        Column(
            "fingerprint",
            _T.STRING,
            about="32 hex digits, the same for the same body of the same event; NULL in rows older than the column",
            personal=True,
        ),
        MISPLACED,
        ARRIVED,
        *PLACE,
        *LOADED,
    ),
    partition_by="occurred_at",
    cluster_by=BY_PLACE,
    topic=topics.TRANSACTIONS.name,
)

OUTCOMES = Table(
    BNPL_RAW,
    "outcomes",
    "Whether purchases were repaid; a later row of the same event corrects the earlier one",
    (
        Column("event_id", _T.STRING, required=True),
        Column("customer_id", _T.STRING, personal=True),
        Column("defaulted", _T.BOOL, required=True),
        Column("days_to_first_missed_payment", _T.INT64, about="Days after the purchase; NULL where none was missed"),
        Column("observed_at", _T.TIMESTAMP, required=True, about="Nothing may use it before, in event time"),
        MISPLACED,
        ARRIVED,
        *PLACE,
        *LOADED,
    ),
    partition_by="observed_at",
    cluster_by=BY_PLACE,
    topic=topics.OUTCOMES.name,
)

FEATURES = Table(
    ML_RAW,
    "features",
    "Feature vectors; one event may have several after a crash, and the first that was decided on counts",
    (
        Column("event_id", _T.STRING, required=True),
        Column("customer_id", _T.STRING, personal=True),
        Column("occurred_at", _T.TIMESTAMP, required=True),
        Column("feature_set_version", _T.STRING),
        Column("features", _T.JSON, required=True, about="Name to number or null", personal=True),
        Column("feature_hash", _T.STRING, about="SHA-256 of the canonical JSON of the features"),
        Column("as_of_transactions", _T.INT64, about="Last offset of bnpl-transactions that is in it; -1: none"),
        Column("as_of_outcomes", _T.INT64),
        Column("computed_at", _T.TIMESTAMP),
        Column("state", _T.STRING, about="fresh or rebuilding"),
        ARRIVED,
        *PLACE,
    ),
    partition_by="occurred_at",
    cluster_by=BY_PLACE,
    topic=topics.FEATURES.name,
)

DECISIONS = Table(
    ML_RAW,
    "raw_bnpl_prediction_logs",
    "Decisions as they stand on the topic; `flit_ml.decisions_current` has one for each event",
    (
        Column("prediction_timestamp", _T.TIMESTAMP, required=True, about="When it was decided"),
        Column("event_id", _T.STRING, required=True),
        Column("transaction_id", _T.STRING, personal=True),
        Column("customer_id", _T.STRING, personal=True),
        Column("occurred_at", _T.TIMESTAMP, required=True),
        Column("decision", _T.STRING, required=True, about="approve, review or decline"),
        Column("probability_of_default", _T.FLOAT64, about="Calibrated; NULL where no model was in service"),
        Column("expected_loss", _T.FLOAT64, about="In the currency of the event"),
        Column("reasons", _T.JSON, about="At most four of {code, text}"),
        Column("model_version", _T.STRING),
        Column("policy_version", _T.STRING),
        Column("feature_set_version", _T.STRING),
        Column("features", _T.JSON, required=True, about="What was decided on: name to number or null", personal=True),
        Column("feature_hash", _T.STRING),
        Column("as_of_transactions", _T.INT64),
        Column("as_of_outcomes", _T.INT64),
        Column("variant", _T.STRING, about="Arm of the experiment"),
        Column("shadow", _T.JSON, about="What models that don't decide would have said"),
        Column("degraded", _T.STRING, about="NULL, or why a fallback decided"),
        Column("channel", _T.STRING, about="stream or rest"),
        Column(
            "record_json", _T.STRING, about="The record's value, byte for byte; replays start from it", personal=True
        ),
        Column("record_sha256", _T.STRING, about="Of the record's value; NULL in rows older than the column"),
        CHAIN,
        ARRIVED,
        *PLACE,
    ),
    partition_by="prediction_timestamp",
    cluster_by=BY_PLACE,
    topic=topics.DECISIONS.name,
)

DECISION_UPDATES = Table(
    ML_RAW,
    "decision_updates",
    "Verdicts of reviewers, cancellations by checkouts",
    (
        Column("update_id", _T.STRING, required=True),
        Column("event_id", _T.STRING, required=True),
        Column("customer_id", _T.STRING, personal=True),
        Column("kind", _T.STRING, required=True, about="verdict or cancel"),
        Column("verdict", _T.STRING),
        Column("actor", _T.STRING),
        Column("note", _T.STRING, personal=True),
        Column("updated_at", _T.TIMESTAMP),
        ARRIVED,
        *PLACE,
    ),
    partition_by=ARRIVED.name,
    cluster_by=BY_PLACE,
    topic=topics.DECISION_UPDATES.name,
)

DEAD_LETTERS = Table(
    ML_RAW,
    "dead_letters",
    "Refused records with their original bytes",
    (
        Column("reason", _T.STRING, required=True),
        Column("detail", _T.STRING, personal=True),
        Column("service", _T.STRING, about="Which refused it"),
        Column("source_topic", _T.STRING, about="Where the refused record lay"),
        Column("source_partition", _T.INT64, about="-1: it didn't come from Kafka"),
        Column("source_offset", _T.INT64),
        Column("received_at", _T.TIMESTAMP),
        Column("key_base64", _T.STRING, personal=True),
        Column("value_base64", _T.STRING, about="The first 64 KiB", personal=True),
        Column("value_sha256", _T.STRING, about="Of the whole value"),
        Column("value_bytes", _T.INT64, about="Of the whole value"),
        Column("headers", _T.JSON, personal=True),
        ARRIVED,
        *PLACE,
    ),
    partition_by=ARRIVED.name,
    cluster_by=BY_PLACE,
    topic=topics.DEAD_LETTERS.name,
)

_MEASURED = (
    Column("model_version", _T.STRING, required=True),
    Column("window_from", _T.TIMESTAMP),
    Column("window_to", _T.TIMESTAMP),
    Column("rows", _T.INT64, about="Events in the window"),
)

MODEL_EVALUATIONS = Table(
    ML_RAW,
    "model_evaluations",
    "What the trainer measured of a model",
    (
        Column("evaluated_at", _T.TIMESTAMP, required=True),
        *_MEASURED,
        Column("family", _T.STRING),
        Column(
            "kind",
            _T.STRING,
            about="training: the model's own test part. matured: what matured since. guardrail: its trial was stopped. "
            "gate: it was put to the gates. promotion: a step on the ladder. recalibration: how far it is believed",
        ),
        Column("metrics", _T.JSON, about="Name to number"),
        Column("detail", _T.JSON, about="What else is to be said: the arm, the gates, the reasons"),
    ),
    partition_by="evaluated_at",
    cluster_by=("model_version",),
)

DRIFT_METRICS = Table(
    ML,
    "drift_metrics",
    "How far each feature has moved from its reference",
    (
        Column("evaluated_at", _T.TIMESTAMP, required=True),
        *_MEASURED,
        Column("feature", _T.STRING, required=True),
        Column("score", _T.FLOAT64, about="`drift`: Wasserstein's distance in deviations; `monitor`: stability index"),
        Column("drifted", _T.BOOL),
        Column("kind", _T.STRING, about="Of `monitor`: what `feature` names; NULL: written by `drift`"),
        Column("window_days", _T.INT64),
        Column("against", _T.STRING, about="reference, or the window before"),
        Column("threshold", _T.FLOAT64, about="Of the score"),
        Column("jensen_shannon", _T.FLOAT64, about="Bits"),
        Column("p_value", _T.FLOAT64, about="That chance alone parts them so"),
        Column("p_needed", _T.FLOAT64, about="At most so much, for an alarm"),
    ),
    partition_by="evaluated_at",
    cluster_by=("model_version", "feature"),
)

MODEL_PERFORMANCE = Table(
    ML,
    "model_performance",
    "Live performance of models on matured outcomes, by window",
    (
        Column("evaluated_at", _T.TIMESTAMP, required=True),
        *_MEASURED,
        Column("auc", _T.FLOAT64),
        Column("ks", _T.FLOAT64),
        Column("brier", _T.FLOAT64),
        Column("log_loss", _T.FLOAT64),
        Column("ece", _T.FLOAT64),
        Column("metrics", _T.JSON, about="Further ones: name to number"),
        Column("period", _T.STRING, about="day, week or four weeks of the purchase"),
        Column("lent", _T.INT64, about="Purchases whose outcome will be known; `rows` of them have matured"),
        Column("defaults", _T.INT64, about="Of `rows`"),
        Column("calibration_slope", _T.FLOAT64),
        Column("profit_bp", _T.FLOAT64, about="Basis points of the volume, of approving below break-even"),
        Column("estimated_auc", _T.FLOAT64, about="From the probabilities alone, of the same `rows`"),
        Column("estimated_auc_error", _T.FLOAT64, about="Standard deviation of the realized one around it"),
        Column("estimated_log_loss", _T.FLOAT64),
        Column("estimated_brier", _T.FLOAT64),
        Column("estimated_profit_bp", _T.FLOAT64),
    ),
    partition_by="evaluated_at",
    cluster_by=("model_version",),
)

DRIFT_HISTOGRAMS = Table(
    ML,
    "drift_histograms",
    "What `monitor` has counted of each day of the stream, by model; of a day's rows the latest counts",
    (
        Column("evaluated_at", _T.TIMESTAMP, required=True),
        Column("model_version", _T.STRING, required=True),
        Column("reference_sha256", _T.STRING, required=True, about="Of the reference whose bins these are"),
        Column("day", _T.INT64, required=True, about="Since 1970, UTC"),
        Column("rows", _T.INT64, about="Purchases"),
        Column(
            "arrived", _T.INT64, about="Rows that the day had, repeats included: another number has it counted anew"
        ),
        Column("histograms", _T.JSON, about="counts, repeats, ages: lists of numbers; degraded: reason to number"),
    ),
    partition_by="evaluated_at",
    cluster_by=("model_version", "day"),
)

ERASURES = Table(
    ML_RAW,
    "erasures",
    "That somebody's data was erased, and how far: never whose",
    (
        Column("erased_at", _T.TIMESTAMP, required=True),
        Column("erasure_id", _T.STRING, required=True, about="One run of the command"),
        Column("complete", _T.BOOL, required=True, about="False: it has to be run again"),
        Column("pending", _T.JSON, about="What was left, and why"),
        Column("states", _T.INT64, about="Deleted from Redis"),
        Column("claims", _T.INT64, about="Deleted from Redis"),
        Column("rows_emptied", _T.JSON, about="Table to how many of its rows"),
        Column("topics", _T.JSON, about="Topic to how many records it still holds"),
        Column("topics_until", _T.TIMESTAMP, about="When the last of them expires; NULL: none is left"),
    ),
    partition_by="erased_at",
)

ALL: tuple[Table, ...] = (
    RAW_TRANSACTIONS, TRANSACTIONS, OUTCOMES, FEATURES, DECISIONS, DECISION_UPDATES, DEAD_LETTERS, MODEL_EVALUATIONS,
    DRIFT_METRICS, MODEL_PERFORMANCE, DRIFT_HISTOGRAMS, ERASURES,
)  # fmt: skip
STREAMED: tuple[Table, ...] = tuple(table for table in ALL if table.topic is not None)


def tables_of(topic: str) -> tuple[Table, ...]:
    """The tables that mirror a topic."""
    return tuple(table for table in STREAMED if table.topic == topic)
