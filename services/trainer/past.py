"""The log as it lies in the warehouse, in its own order, and features written beside those that were decided on."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec
from google.cloud import bigquery

from services.trainer.backtest import LoggedCase
from services.trainer.warehouse import QUERY_TIMEOUT_S, Warehouse, as_unavailable
from shared.contracts.enumerations import BLOCK_TYPES
from shared.contracts.events import Outcome, Verdict
from shared.contracts.identity import canonical_time, epoch_micros
from shared.contracts.transactions import AcceptedTransaction, Door, Limits, decode_transaction
from shared.feature_definitions import feature_hash
from shared.feature_definitions.replay import Features, LoggedOutcome, LoggedPurchase
from shared.warehouse import tables, views
from shared.warehouse.clients import CALL_TIMEOUT_S, RETRY

PAGE_ROWS = 10_000
LOAD_ROWS = 20_000
"""In one load job: each stays well below the size that asks for a file in a bucket."""

LIMITS = Limits(max_amount=float("inf"), max_future_seconds=10**9)
"""What is in the warehouse was accepted, under whatever limits held then."""

# Customers who were erased have no id in the warehouse, and are left out everywhere.
_PURCHASES = f"""
SELECT t.*, d.as_of_transactions, d.as_of_outcomes
FROM `{{project}}.{tables.TRANSACTIONS.id}` AS t
JOIN `{{project}}.{views.DECISIONS_CURRENT.id}` AS d ON d.event_id = t.event_id
WHERE t.kafka_partition = {{partition}} AND t.misplaced IS NOT TRUE AND t.customer_id IS NOT NULL
ORDER BY t.kafka_offset
"""

_OUTCOMES = f"""
SELECT event_id, customer_id, defaulted, days_to_first_missed_payment, observed_at, kafka_offset
FROM `{{project}}.{tables.OUTCOMES.id}`
WHERE kafka_partition = {{partition}} AND misplaced IS NOT TRUE AND customer_id IS NOT NULL
ORDER BY kafka_offset
"""

_CASES = f"""
SELECT
  t.*, d.decision, d.probability_of_default, d.degraded, d.feature_set_version AS decided_on,
  TO_JSON_STRING(
    IF(d.feature_set_version = '{{feature_set}}', d.features, COALESCE(f.features, d.features))) AS features,
  IF(d.feature_set_version = '{{feature_set}}' OR f.event_id IS NOT NULL, TRUE, FALSE) AS in_set, e.defaulted
FROM `{{project}}.{views.DECISIONS_CURRENT.id}` AS d
JOIN `{{project}}.{views.TRANSACTIONS_CURRENT.id}` AS t ON t.event_id = d.event_id
LEFT JOIN (
  SELECT event_id, defaulted FROM `{{project}}.{views.TRAINING_EXAMPLES.id}`
  WHERE mature_at <= TIMESTAMP_MICROS({{as_of_us}}) AND observed
) AS e ON e.event_id = d.event_id
LEFT JOIN (
  SELECT event_id, features FROM `{{project}}.{tables.FEATURES.id}`
  WHERE load_id IS NOT NULL AND feature_set_version = '{{feature_set}}'
  QUALIFY ROW_NUMBER() OVER (PARTITION BY event_id ORDER BY computed_at) = 1
) AS f ON f.event_id = d.event_id
WHERE d.occurred_at >= TIMESTAMP_MICROS({{since_us}}) AND d.occurred_at < TIMESTAMP_MICROS({{until_us}})
  AND t.customer_id IS NOT NULL
ORDER BY t.kafka_partition, t.kafka_offset
"""

_PARTITIONS = f"""
SELECT DISTINCT kafka_partition FROM `{{project}}.{tables.TRANSACTIONS.id}` WHERE kafka_partition IS NOT NULL
"""

_PRESENT = f"""
SELECT event_id FROM `{{project}}.{tables.FEATURES.id}`
WHERE feature_set_version = '{{feature_set}}' AND load_id IS NOT NULL
"""

_FEATURE_VALUES = msgspec.json.Decoder(dict[str, float | None])

_LOADED = (
    "event_id", "customer_id", "occurred_at", "feature_set_version", "features", "feature_hash", "as_of_transactions",
    "as_of_outcomes", "computed_at", "state", "kafka_timestamp", "load_id",
)  # fmt: skip


class Past:
    """Every method may raise WarehouseUnavailable."""

    def __init__(self, warehouse: Warehouse) -> None:
        self._client, self._project = warehouse.client, warehouse.project

    def partitions(self) -> list[int]:
        return sorted(row.kafka_partition for row in self._rows(_PARTITIONS))

    def purchases(self, partition: int) -> Iterator[LoggedPurchase]:
        """Decided purchases in order of their offsets, repeats included, with what their decision was made as of."""
        for row in self._rows(_PURCHASES, partition=partition):
            seen = row["as_of_outcomes"], row["as_of_transactions"]
            yield LoggedPurchase(row["kafka_offset"], _accepted(row), *seen)

    def outcomes(self, partition: int) -> list[LoggedOutcome]:
        """In order of their offsets."""
        found = []
        for row in self._rows(_OUTCOMES, partition=partition):
            observed_at = canonical_time(row.observed_at)
            outcome = Outcome(
                event_id=row.event_id,
                customer_id=row.customer_id,
                defaulted=row.defaulted,
                days_to_first_missed_payment=row.days_to_first_missed_payment,
                observed_at=observed_at,
            )
            found.append(LoggedOutcome(row.kafka_offset, outcome, epoch_micros(observed_at)))
        return found

    def cases(self, since_us: int, until_us: int, as_of_us: int, feature_set: str) -> Iterator[tuple[LoggedCase, bool]]:
        """Decisions on purchases in [since, until), with outcomes that have matured by `as_of_us`; and whether the
        features are of the set (else those that were decided on)."""
        rows = self._rows(_CASES, since_us=since_us, until_us=until_us, as_of_us=as_of_us, feature_set=feature_set)
        for row in rows:
            case = LoggedCase(
                transaction=_accepted(row).transaction,
                features=_FEATURE_VALUES.decode(row["features"]),
                decision=Verdict(row["decision"]),
                probability=row["probability_of_default"],
                degraded=row["degraded"],
                defaulted=row["defaulted"],
            )
            yield case, row["in_set"]

    def present(self, feature_set: str) -> set[str]:
        """Events that have reprocessed features of this set."""
        return {row.event_id for row in self._rows(_PRESENT, feature_set=feature_set)}

    def append(
        self, made: Sequence[tuple[LoggedPurchase, Features]], feature_set: str, load_id: str, now: datetime
    ) -> None:
        """Write features in load jobs: rows without a place in Kafka, with `load_id` instead."""
        computed_at = canonical_time(now)
        schema = [field for field in self._schema() if field.name in _LOADED]
        rows = [_row(purchase, features, feature_set, load_id, computed_at) for purchase, features in made]
        for start in range(0, len(rows), LOAD_ROWS):
            config = bigquery.LoadJobConfig(schema=schema, write_disposition="WRITE_APPEND")
            with as_unavailable(self._project):
                self._client.load_table_from_json(
                    rows[start : start + LOAD_ROWS],
                    f"{self._project}.{tables.FEATURES.id}",
                    job_config=config,
                    timeout=QUERY_TIMEOUT_S,
                ).result(timeout=QUERY_TIMEOUT_S)

    def _schema(self) -> Iterable[bigquery.SchemaField]:
        with as_unavailable(self._project):
            table = self._client.get_table(f"{self._project}.{tables.FEATURES.id}", retry=RETRY, timeout=CALL_TIMEOUT_S)
        return list(table.schema)

    def _rows(self, sql: str, **values: object) -> Iterator[Any]:
        with as_unavailable(self._project):
            job = self._client.query(sql.format(project=self._project, **values), retry=RETRY, timeout=CALL_TIMEOUT_S)
            # Through the REST pages, which keep the order of the query.
            yield from job.result(page_size=PAGE_ROWS, timeout=QUERY_TIMEOUT_S)


def _accepted(row: Mapping[str, Any]) -> AcceptedTransaction:
    return decode_transaction(
        msgspec.json.encode(document_of(row)),
        door=Door.TOPIC,
        received_us=epoch_micros(canonical_time(row["kafka_timestamp"])),
        limits=LIMITS,
    )


def document_of(row: Mapping[str, Any]) -> dict[str, Any]:
    """A typed row as the transaction that it was made from, unknown fields apart."""
    document: dict[str, Any] = {
        name: row[name] for name in ("event_id", "source", "transaction_id", "customer_id", "currency", "status")
    }
    document["occurred_at"] = canonical_time(row["occurred_at"])
    document["amount"] = float(row["amount"])
    for block, kind in BLOCK_TYPES.items():
        names = (field.name for field in msgspec.structs.fields(kind))
        fields = {name: row[f"{block}_{name}"] for name in names if row[f"{block}_{name}"] is not None}
        if fields:
            document[block] = fields
    return {name: value for name, value in document.items() if value is not None}


def _row(
    purchase: LoggedPurchase, features: Features, feature_set: str, load_id: str, computed_at: str
) -> dict[str, Any]:
    transaction = purchase.accepted.transaction
    return {
        "event_id": transaction.event_id,
        "customer_id": transaction.customer_id,
        "occurred_at": transaction.occurred_at,
        "feature_set_version": feature_set,
        "features": features,
        "feature_hash": feature_hash(features),
        "as_of_transactions": purchase.transactions_seen,
        "as_of_outcomes": purchase.outcomes_seen,
        "computed_at": computed_at,
        "state": "fresh",
        "kafka_timestamp": computed_at,
        "load_id": load_id,
    }


def now() -> datetime:
    return datetime.now(UTC)
