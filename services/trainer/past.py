"""The log as it lies in the warehouse, in its own order, and features written beside those that were decided on."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
from google.cloud import bigquery
from numpy.typing import NDArray

from services.trainer.queries import made_anew
from services.trainer.reprocess import UNDECIDED, Reprocessed, Wanted, reprocess
from services.trainer.told import heard
from services.trainer.warehouse import QUERY_TIMEOUT_S, Warehouse, as_unavailable
from shared.contracts.events import VectorState
from shared.contracts.identity import canonical_time, epoch_micros
from shared.feature_definitions import feature_hash
from shared.feature_definitions.replay import Features, LoggedOutcome, LoggedPurchase
from shared.policy.backtest import LoggedCase
from shared.settings import BigQuerySettings
from shared.warehouse import logged, tables, views
from shared.warehouse.accepted import OUTCOME_COLUMNS, TRANSACTION_COLUMNS, accepted_outcome, accepted_transaction
from shared.warehouse.clients import CALL_TIMEOUT_S, RETRY
from shared.warehouse.columns import Row
from shared.warehouse.loading import load_rows

if TYPE_CHECKING:
    import pyarrow

PAGE_ROWS = 10_000
LOAD_ROWS = 20_000
"""In one load job: each stays well below the size that asks for a file in a bucket."""

# Customers who were erased have no id in the warehouse, and are left out everywhere. The tables are clustered by
# `kafka_partition`, also where it is NULL: what was loaded in bulk.
_PURCHASES = f"""
SELECT {", ".join(f"t.{name}" for name in TRANSACTION_COLUMNS)}, t.kafka_offset, d.as_of_transactions, d.as_of_outcomes
FROM `{{project}}.{tables.TRANSACTIONS.id}` AS t
LEFT JOIN `{{project}}.{views.DECISIONS_CURRENT.id}` AS d
  ON {views.of_decision("t", "d")} AND d.customer_id = t.customer_id
WHERE t.kafka_partition = {{partition}} AND t.misplaced IS NOT TRUE AND t.customer_id IS NOT NULL
"""
"""Those without a decision too: another customer's purchase under an id that was taken gets none, and is in his state
all the same (ADR 0052). Both may lie in one partition."""

_LOADED_PURCHASES = f"""
SELECT {", ".join(TRANSACTION_COLUMNS)}, load_id, load_row
FROM `{{project}}.{tables.TRANSACTIONS.id}`
WHERE kafka_partition IS NULL AND load_partition = {{partition}} AND customer_id IS NOT NULL
"""

_OUTCOMES = f"""
SELECT {", ".join(OUTCOME_COLUMNS)}, kafka_offset
FROM `{{project}}.{tables.OUTCOMES.id}`
WHERE kafka_partition = {{partition}} AND misplaced IS NOT TRUE AND customer_id IS NOT NULL
"""

_LOADED_OUTCOMES = f"""
SELECT {", ".join(OUTCOME_COLUMNS)}, load_id, load_row
FROM `{{project}}.{tables.OUTCOMES.id}`
WHERE kafka_partition IS NULL AND load_partition = {{partition}} AND customer_id IS NOT NULL
"""

_OF_SAMPLE = f"""
  AND {{customer_id}} IN (
    SELECT customer_id FROM (
      SELECT customer_id, MIN(event_id) AS drawn FROM `{{project}}.{tables.TRANSACTIONS.id}`
      WHERE occurred_at >= TIMESTAMP_MICROS({{since_us}}) AND occurred_at < TIMESTAMP_MICROS({{until_us}})
        AND customer_id IS NOT NULL
      GROUP BY customer_id ORDER BY drawn LIMIT {{customers}}))
"""
"""Identities of events are hashes, or random: whoever has the least of them is anybody."""

_BOUGHT = "occurred_at >= TIMESTAMP_MICROS({since_us}) AND occurred_at < TIMESTAMP_MICROS({until_us})"
_DECIDED = f"{views.decided_since('{since_us}')} AND {_BOUGHT}"
"""Of one event's records all meet these, or none does: a decision's purchase is the same in each."""

_CASES = f"""
SELECT
  t.*, {logged.DECIDED},
  TO_JSON_STRING(
    IF(d.feature_set_version = '{{feature_set}}', d.features, COALESCE(f.features, d.features))) AS features,
  IF(d.feature_set_version = '{{feature_set}}' OR f.event_id IS NOT NULL, TRUE, FALSE) AS in_set, e.defaulted,
  {logged.AFTERWARDS}
FROM ({views.first_records(tables.DECISIONS, _DECIDED)}) AS d
JOIN ({views.first_records(tables.TRANSACTIONS, f"misplaced IS NOT TRUE AND {_BOUGHT}")}) AS t
  ON {views.of_decision("t", "d")}
LEFT JOIN (
  SELECT event_id, defaulted FROM {{heard}}
) AS e ON e.event_id = d.event_id
LEFT JOIN ({made_anew(_BOUGHT)}) AS f ON f.event_id = d.event_id
LEFT JOIN ({views.LATEST_VERDICTS}) AS v ON v.event_id = d.event_id
LEFT JOIN ({views.CANCELLED}) AS c ON c.event_id = d.event_id
WHERE t.customer_id IS NOT NULL
"""
"""In no order: BigQuery sorts on one worker, which a history with its features doesn't fit into."""

_PARTITIONS = f"""
SELECT DISTINCT COALESCE(kafka_partition, load_partition) AS number FROM `{{project}}.{tables.TRANSACTIONS.id}`
WHERE COALESCE(kafka_partition, load_partition) IS NOT NULL
"""

_PRESENT = f"""
SELECT DISTINCT f.event_id FROM `{{project}}.{tables.FEATURES.id}` AS f
JOIN `{{project}}.{tables.TRANSACTIONS.id}` AS t ON t.event_id = f.event_id
WHERE f.feature_set_version = '{{feature_set}}' AND f.load_id IS NOT NULL
  AND (t.kafka_partition = {{partition}} OR (t.kafka_partition IS NULL AND t.load_partition = {{partition}}))
"""

_HAS = f"""
SELECT 1 FROM `{{project}}.{tables.FEATURES.id}`
WHERE feature_set_version = '{{feature_set}}' AND load_id IS NOT NULL AND event_id = @event LIMIT 1
"""

BY_OFFSET = ("kafka_offset",)
BY_LOAD = ("load_id", "load_row")
"""The order of what never had an offset. A load's name holds the first day of its run and its own."""
BY_OBSERVATION = ("observed_at", *BY_LOAD)

_encoder = msgspec.json.Encoder()


@dataclass(frozen=True)
class Sample:
    """So many of the customers who bought in [since, until), microseconds of event time, with all of their past."""

    since_us: int
    until_us: int
    customers: int


class Seen:
    """Up to which of the loaded outcomes, which have offsets below zero in the order of their times, one could know."""

    def __init__(self, observed_us: NDArray[np.int64]) -> None:
        """`observed_us`: ascending."""
        self._observed_us, self._count = observed_us, 0

    def by(self, moment_us: int) -> int:
        """The offset of the last one by then. It never goes back: states don't either."""
        self._count = max(self._count, int(np.searchsorted(self._observed_us, moment_us, side="right")))
        return self._count - len(self._observed_us) - 1


class Past:
    """Every method may raise WarehouseUnavailable."""

    def __init__(self, warehouse: Warehouse, sample: Sample | None = None) -> None:
        """`sample`: whose purchases and outcomes there are; everybody's without one."""
        self._warehouse, self._client, self._project = warehouse, warehouse.client, warehouse.project
        self._sample = sample
        self._outcomes_of: tuple[int, pyarrow.Table] | None = None

    def partitions(self) -> list[int]:
        return sorted(row.number for row in self._rows(_PARTITIONS))

    def purchases(self, partition: int) -> Iterator[LoggedPurchase]:
        """What was loaded in bulk, then what came by the topic; each in its order, repeats included, with what it is to
        be answered as of: a loaded one, of the loaded outcomes that could be known by then (a correction that came
        later would take away what was believed). Where the order of the loads isn't that of time, of what an earlier
        one was answered as of too. What was never decided is to be answered as of nothing (`UNDECIDED`)."""
        loaded = self._sorted(_LOADED_PURCHASES, BY_LOAD, partition)
        seen = Seen(self._loaded_outcomes(partition)["observed_at"].cast("int64").to_numpy())
        for offset, row in zip(range(-loaded.num_rows, 0), _dicts(loaded), strict=True):
            accepted = accepted_transaction(row)
            yield LoggedPurchase(offset, accepted, seen.by(accepted.occurred_us), load_id=row["load_id"])
        for row in _dicts(self._sorted(_PURCHASES, BY_OFFSET, partition)):
            decided = row["as_of_outcomes"] is not None
            as_of = (row["as_of_outcomes"], row["as_of_transactions"]) if decided else (UNDECIDED, None)
            yield LoggedPurchase(row["kafka_offset"], accepted_transaction(row), *as_of)

    def outcomes(self, partition: int) -> list[LoggedOutcome]:
        """In order of their offsets: loaded ones first, which have them below zero, in the order that they were
        observed in."""
        loaded = self._loaded_outcomes(partition)
        streamed = self._sorted(_OUTCOMES, BY_OFFSET, partition)
        numbered = [
            *zip(range(-loaded.num_rows, 0), _dicts(loaded), strict=True),
            *((row["kafka_offset"], row) for row in _dicts(streamed)),
        ]
        return [
            LoggedOutcome(offset, known.outcome, known.observed_us)
            for offset, row in numbered
            for known in (accepted_outcome(row),)
        ]

    def _loaded_outcomes(self, partition: int) -> pyarrow.Table:
        """Read once for a partition: their offsets count from the end, and a load may bring more meanwhile."""
        if self._outcomes_of is None or self._outcomes_of[0] != partition:
            self._outcomes_of = partition, self._sorted(_LOADED_OUTCOMES, BY_OBSERVATION, partition)
        return self._outcomes_of[1]

    def cases(self, since_us: int, until_us: int, as_of_us: int, feature_set: str) -> Iterator[tuple[LoggedCase, bool]]:
        """Decisions on purchases in [since, until), in no order, with outcomes that have matured by `as_of_us`; and
        whether the features are of the set (else those that were decided on)."""
        # As they were known then: a correction that came later is hindsight.
        seen = views.latest_outcomes(f"observed_at <= TIMESTAMP_MICROS({as_of_us:d})")
        bought = views.examples_since(seen, since_us).replace("{project}", self._project)
        sql = _CASES.format(
            project=self._project,
            since_us=since_us,
            until_us=until_us,
            feature_set=feature_set,
            heard=heard(bought, min(as_of_us, self._warehouse.watched_until(as_of_us))),
        )
        with self._warehouse.batches(sql) as (_, batches):
            for batch in batches:
                for row in rows_of(batch):
                    yield logged.logged_case(row), row["in_set"]

    def present(self, feature_set: str, partition: int) -> set[str]:
        """Events of the partition that have features of this set from an earlier run."""
        sql = (_PRESENT + self._sampled("t.customer_id")).format(
            project=self._project, feature_set=feature_set, partition=partition
        )
        return set(self._warehouse.rows(sql)["event_id"].to_pylist())

    def forget_erased(self, feature_set: str) -> int:
        """Empty what was made of people who have been erased since they were read; of how many purchases."""
        gone = f"SELECT event_id FROM `{self._project}.{tables.TRANSACTIONS.id}` WHERE customer_id IS NULL"
        sql = (
            f"UPDATE `{self._project}.{tables.FEATURES.id}` SET {tables.FEATURES.emptying}"
            f" WHERE {tables.FEATURES.ever}"
            f" AND load_id IS NOT NULL AND feature_set_version = '{feature_set}' AND customer_id IS NOT NULL"
            f" AND event_id IN ({gone})"
        )
        with as_unavailable(self._project):
            job = self._client.query(sql, retry=RETRY, timeout=CALL_TIMEOUT_S)
            job.result(timeout=QUERY_TIMEOUT_S)
            return job.num_dml_affected_rows or 0

    def append(
        self, made: Sequence[tuple[LoggedPurchase, Features]], feature_set: str, load_id: str, now: datetime
    ) -> None:
        """Write features in load jobs: rows without a place in Kafka, with `load_id` instead, or that of the purchase
        where it was loaded itself."""
        computed_us = epoch_micros(canonical_time(now))
        rows = [
            feature_row(purchase, features, feature_set, load_id=purchase.load_id or load_id, computed_us=computed_us)
            for purchase, features in made
        ]
        for start in range(0, len(rows), LOAD_ROWS):
            some = rows[start : start + LOAD_ROWS]
            with as_unavailable(self._project):
                load_rows(
                    self._client,
                    tables.FEATURES,
                    some,
                    key=feature_rows_key(some),
                    present=partial(self._has, some[0]["event_id"], feature_set),
                )

    def _has(self, event_id: str, feature_set: str) -> bool:
        """Whether an event has features of the set from a load."""
        event = bigquery.ScalarQueryParameter("event", "STRING", event_id)  # the producer's own text
        config = bigquery.QueryJobConfig(query_parameters=[event], use_query_cache=False)
        sql = _HAS.format(project=self._project, feature_set=feature_set)
        return any(self._client.query(sql, config, retry=RETRY, timeout=CALL_TIMEOUT_S).result(timeout=QUERY_TIMEOUT_S))

    def _sorted(self, sql: str, keys: Sequence[str], partition: int) -> pyarrow.Table:
        sql += self._sampled("t.customer_id" if sql is _PURCHASES else "customer_id")
        rows = self._warehouse.rows(sql.format(project=self._project, partition=partition))
        return rows.sort_by([(key, "ascending") for key in keys])

    def _sampled(self, customer_id: str) -> str:
        """What a query of everybody's rows goes on with, for those of the sample."""
        if self._sample is None:
            return ""
        return _OF_SAMPLE.format(project="{project}", customer_id=customer_id, **asdict(self._sample))

    def _rows(self, sql: str, **values: object) -> Iterator[Any]:
        with as_unavailable(self._project):
            job = self._client.query(sql.format(project=self._project, **values), retry=RETRY, timeout=CALL_TIMEOUT_S)
            # Through the REST pages, which keep the order of the query.
            yield from job.result(page_size=PAGE_ROWS, timeout=QUERY_TIMEOUT_S)


def _dicts(table: pyarrow.Table) -> Iterator[dict[str, Any]]:
    for batch in table.to_batches(PAGE_ROWS):
        yield from rows_of(batch)


def rows_of(batch: pyarrow.RecordBatch) -> Iterator[dict[str, Any]]:
    """Row by row, without all of them in Python at once."""
    for start in range(0, batch.num_rows, PAGE_ROWS):
        yield from batch.slice(start, PAGE_ROWS).to_pylist()


def feature_row(
    purchase: LoggedPurchase, features: Features, feature_set: str, *, load_id: str, computed_us: int
) -> Row:
    """The row of a vector that no stream has made."""
    transaction = purchase.accepted.transaction
    return {
        "event_id": transaction.event_id,
        "customer_id": transaction.customer_id,
        "occurred_at": purchase.accepted.occurred_us,
        "feature_set_version": feature_set,
        "features": _encoder.encode(features).decode(),
        "feature_hash": feature_hash(features),
        "as_of_transactions": purchase.transactions_seen,
        "as_of_outcomes": max(purchase.outcomes_seen, -1),  # below: none of the log, for loaded ones have no offset
        "computed_at": computed_us,
        "state": VectorState.FRESH.value,
        "kafka_timestamp": computed_us,
        "load_id": load_id,
    }


def feature_rows_key(rows: Iterable[Row]) -> str:
    """The same for the same features of the same events, whenever they are made."""
    names = (f"{row['event_id']} {row['feature_set_version']} {row['feature_hash']}" for row in rows)
    return hashlib.sha256("\n".join(names).encode()).hexdigest()


def reprocess_partition(settings: BigQuerySettings, wanted: Wanted, partition: int) -> Reprocessed:
    """One part of a run, in whatever process: it opens the warehouse for itself."""
    return reprocess(Past(Warehouse(settings)), partition, wanted, lambda: datetime.now(UTC))
