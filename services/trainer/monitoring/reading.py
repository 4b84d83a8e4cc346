"""What the monitor reads of the warehouse: purchases by day of the stream, loans with their outcomes, counts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from services.trainer.currencies import in_usd
from services.trainer.examples import TrainingRefused
from services.trainer.monitoring.lent import Lent
from services.trainer.monitoring.purchases import SEGMENTS, Purchases
from services.trainer.monitoring.reference import MAX_ROWS, Arrivals
from services.trainer.monitoring.silence import Told, told_of
from services.trainer.queries import examples_query, made_anew
from services.trainer.segments import UNKNOWN
from services.trainer.spans import Span, outside
from services.trainer.told import heard, loans
from services.trainer.warehouse import Warehouse, decoded_features, weights_of
from shared.feature_definitions.windows import MICROS_PER_DAY, MICROS_PER_SECOND
from shared.policy.exploration import Propensity
from shared.warehouse import tables, views

MAX_DAY_ROWS = 50_000
"""Of one day, drawn by a hash of the event: bounds memory (a week of them is half a gigabyte), and tells every change
that matters."""

MAX_OUTCOMES = 100_000
"""Of what a model never learnt from, drawn alike: some thousand defaults tell its slope to within a thirtieth."""

_FIRST = f"QUALIFY {views.FIRST_OF_EVENT}"
_FIRST_PURCHASE = f"QUALIFY {views.FIRST_OF_PURCHASE}"
_BETWEEN = "occurred_at >= TIMESTAMP_MICROS({first_us}) AND occurred_at < TIMESTAMP_MICROS({end_us})"
_DECIDED_SINCE = views.decided_since("{first_us}")

_PURCHASES = f"""
SELECT a.event_id, a.customer_id, a.occurred_us, a.decided_us, a.degraded, TO_JSON_STRING(a.features) AS features,
  {", ".join(f"CAST(t.{column} AS STRING) AS segment_{name}" for name, column in SEGMENTS.items())}
FROM (
  SELECT d.event_id, d.customer_id, UNIX_MICROS(d.occurred_at) AS occurred_us, d.decided_us, d.degraded, d.home,
    IF(d.feature_set_version = '{{feature_set}}', d.features, f.features) AS features
  FROM (
    SELECT event_id, customer_id, occurred_at, UNIX_MICROS(prediction_timestamp) AS decided_us, degraded,
      feature_set_version, features, kafka_partition AS home
    FROM `{{project}}.{tables.DECISIONS.id}` WHERE {_DECIDED_SINCE} AND {_BETWEEN} AND customer_id IS NOT NULL
    {_FIRST}
  ) AS d
  LEFT JOIN ({made_anew(_BETWEEN)}) AS f ON f.event_id = d.event_id
  WHERE d.feature_set_version = '{{feature_set}}' OR f.event_id IS NOT NULL
  UNION ALL
  SELECT event_id, customer_id, UNIX_MICROS(occurred_at) AS occurred_us, CAST(NULL AS INT64) AS decided_us,
    CAST(NULL AS STRING) AS degraded, home, features
  FROM ({views.loaded_features("{first_us}")}) AS l WHERE feature_set_version = '{{feature_set}}' AND {_BETWEEN}
) AS a
LEFT JOIN (
  SELECT event_id, {views.home()} AS home, {", ".join(SEGMENTS.values())} FROM `{{project}}.{tables.TRANSACTIONS.id}`
  WHERE {_BETWEEN} AND misplaced IS NOT TRUE
  {_FIRST_PURCHASE}
) AS t ON t.event_id = a.event_id AND t.home = a.home
WHERE TRUE
QUALIFY ROW_NUMBER() OVER (
  PARTITION BY DIV(a.occurred_us, {MICROS_PER_DAY}) ORDER BY TO_HEX(MD5(a.event_id))) <= {{most}}
"""
"""Decided on features of the set, or on others and computed again in it (`reprocess`), or loaded in bulk."""

_ARRIVED = f"""
SELECT day, COUNT(*) AS arrived FROM (
  SELECT DIV(UNIX_MICROS(occurred_at), {MICROS_PER_DAY}) AS day FROM `{{project}}.{tables.DECISIONS.id}`
  WHERE {_DECIDED_SINCE} AND {_BETWEEN}
  UNION ALL
  SELECT DIV(UNIX_MICROS(occurred_at), {MICROS_PER_DAY}) AS day FROM `{{project}}.{tables.FEATURES.id}`
  WHERE load_id IS NOT NULL AND {_BETWEEN}
) AS rows_of_days GROUP BY day
"""
"""Reads one column of the days, and tells every late row by a number."""

_BEGAN = (
    f"SELECT DIV(UNIX_MICROS(MIN(occurred_at)), {MICROS_PER_DAY}) AS day FROM `{{project}}.{tables.TRANSACTIONS.id}`"
)

_LENT = f"""
SELECT UNIX_MICROS(d.occurred_at) AS occurred_us, d.model_version, d.probability_of_default AS probability,
  CAST(t.amount AS FLOAT64) AS amount, t.currency, t.source, e.defaulted, e.told, e.told_us,
  IF(d.explored, d.policy_version, NULL) AS explored_under,
  UNIX_MICROS(TIMESTAMP_ADD(d.occurred_at, INTERVAL {views.plan_days("t")} DAY)) AS mature_us
FROM (
  SELECT event_id, occurred_at, prediction_timestamp, model_version, probability_of_default, policy_version, decision,
    kafka_partition, {views.EXPLORED} AS explored
  FROM `{{project}}.{tables.DECISIONS.id}` AS d WHERE {_DECIDED_SINCE} AND {_BETWEEN} AND customer_id IS NOT NULL
  {_FIRST}
) AS d
JOIN (
  SELECT event_id, source, amount, currency, installments_count, installments_frequency, kafka_partition,
    load_partition
  FROM `{{project}}.{tables.TRANSACTIONS.id}`
  WHERE {_BETWEEN} AND misplaced IS NOT TRUE AND installments_count IS NOT NULL
  {_FIRST_PURCHASE}
) AS t ON {views.of_decision("t", "d")}
LEFT JOIN (
  SELECT event_id, IF(heard, defaulted, NULL) AS defaulted, observed_at IS NOT NULL AS told,
    UNIX_MICROS(told_last) AS told_us
  FROM {{loans}}
) AS e ON e.event_id = d.event_id
LEFT JOIN ({views.LATEST_VERDICTS}) AS v ON v.event_id = d.event_id
LEFT JOIN ({views.CANCELLED}) AS c ON c.event_id = d.event_id
WHERE d.probability_of_default IS NOT NULL AND d.model_version IS NOT NULL AND {views.OBSERVED}
"""

_SOME_OUTCOMES = f"ORDER BY TO_HEX(MD5(e.event_id)) LIMIT {MAX_OUTCOMES}"

_LETTERS = f"""
SELECT l.reason, COUNT(*) AS letters FROM `{{project}}.{tables.DEAD_LETTERS.id}` AS l
JOIN (
  SELECT MIN(prediction_timestamp) AS first_at, MAX(prediction_timestamp) AS last_at
  FROM `{{project}}.{tables.DECISIONS.id}` WHERE {_DECIDED_SINCE} AND {_BETWEEN}
) AS d ON l.kafka_timestamp >= d.first_at AND l.kafka_timestamp <= d.last_at
GROUP BY l.reason
"""
"""A record that can't be read has no time of an event: what counts is that it came while the purchases did."""

_RECOMPUTED = f"""
SELECT COUNT(*) AS decided, COUNTIF(f.event_id IS NOT NULL) AS vectors,
  COUNTIF(d.feature_hash != f.feature_hash) AS others FROM (
  SELECT event_id, feature_hash, feature_set_version FROM `{{project}}.{tables.DECISIONS.id}`
  WHERE {_DECIDED_SINCE} AND {_BETWEEN} AND customer_id IS NOT NULL
  {_FIRST}
) AS d
LEFT JOIN (
  SELECT event_id, feature_hash, feature_set_version FROM `{{project}}.{tables.FEATURES.id}`
  WHERE {_BETWEEN} AND load_id IS NOT NULL
  QUALIFY ROW_NUMBER() OVER (PARTITION BY event_id, feature_set_version ORDER BY computed_at DESC) = 1
) AS f ON f.event_id = d.event_id AND f.feature_set_version = d.feature_set_version
"""


@dataclass(frozen=True)
class LentAndTold:
    lent: Lent
    told: Told


@dataclass(frozen=True)
class Outcomes:
    """Parallel columns of n purchases that were lent and have matured, whoever decided them."""

    features: NDArray[np.float32]
    """[n, features]"""
    label: NDArray[np.int8]
    weight: NDArray[np.float64]
    """1 / propensity."""


class MonitorReads:
    """Every method may raise WarehouseUnavailable. Days are counted since 1970 by the purchases' own times; ends aren't
    included."""

    def __init__(self, warehouse: Warehouse) -> None:
        self._warehouse = warehouse

    def purchases(
        self, first_day: int, end_day: int, names: Sequence[str], feature_set: str, most_a_day: int = MAX_DAY_ROWS
    ) -> Purchases:
        """All purchases of the days, decided or loaded; erased customers are left out."""
        found = self._between(_PURCHASES, first_day, end_day, feature_set=feature_set, most=most_a_day)
        columns = {name: found[name].to_pylist() for name in found.column_names if name != "features"}
        occurred_us = np.array(columns["occurred_us"], np.int64)
        return Purchases(
            _texts(columns["customer_id"]),
            occurred_us,
            decoded_features(found["features"], names),
            {name: _texts(columns[f"segment_{name}"]) for name in SEGMENTS},
            (_numbers(columns["decided_us"]) - occurred_us) / MICROS_PER_SECOND,
            _texts(columns["degraded"], absent=""),
        )

    def arrivals(self, feature_set: str, without: Sequence[Span] = ()) -> Arrivals:
        """What references are made of. `without`: times whose purchases came in broken, and would make what is sound
        look as if it had moved for as long as the model serves."""

        def read(first_day: int, end_day: int, names: tuple[str, ...]) -> Purchases:
            found = self.purchases(first_day, end_day, names, feature_set, MAX_ROWS // (end_day - first_day))
            return found.take(outside(found.occurred_us, without))

        return read

    def arrived(self, first_day: int, end_day: int) -> Counter[int]:
        """How many rows each of the days has, repeats included."""
        found = self._between(_ARRIVED, first_day, end_day)
        return Counter(dict(zip(found["day"].to_pylist(), found["arrived"].to_pylist(), strict=True)))

    def began(self) -> int:
        """Day of the stream's first purchase. Raises TrainingRefused where there is none."""
        day = self._warehouse.rows(_BEGAN.format(project=self._warehouse.project))["day"][0].as_py()
        if day is None:
            raise TrainingRefused("the warehouse holds no purchase yet")
        return int(day)

    def lent(self, first_day: int, end_day: int, as_of_us: int, propensity: Propensity) -> LentAndTold:
        """What models decided and was lent, with what has matured by then, as it was known then. `propensity`: as of
        `matured_examples`. Left out is what has matured without an outcome that counts."""
        watched_us = self._warehouse.watched_until(as_of_us)
        known = loans(self._examples(first_day * MICROS_PER_DAY, as_of_us), watched_us)
        found = self._between(_LENT, first_day, end_day, loans=known)
        columns = {name: found[name].to_pylist() for name in found.column_names}
        lent = Lent(
            np.array(columns["occurred_us"], np.int64),
            _texts(columns["model_version"]),
            _numbers(columns["probability"]),
            in_usd(_numbers(columns["amount"]), columns["currency"]),
            weights_of(columns["explored_under"], propensity),
            _numbers(columns["defaulted"]),
            np.array(columns["mature_us"], np.int64),
        )
        mature_us, unknown = lent.mature_us, np.isnan(lent.defaulted)
        order = np.argsort(lent.occurred_us, kind="stable")
        kept = order[~(unknown & (mature_us <= watched_us))[order]]
        told = np.array(columns["told"], dtype=bool)  # None is none
        return LentAndTold(
            lent.take(kept), told_of(_texts(columns["source"]), mature_us, told, _numbers(columns["told_us"]), as_of_us)
        )

    def outcomes(
        self,
        first_us: int,
        end_us: int,
        as_of_us: int,
        names: Sequence[str],
        feature_set: str,
        propensity: Propensity,
    ) -> Outcomes:
        """Of purchases in [first, end), what has matured by a moment, as it was known then."""
        since = f"occurred_at >= TIMESTAMP_MICROS({first_us:d})"
        which = f"e.occurred_at < TIMESTAMP_MICROS({end_us:d})"
        source = heard(self._examples(first_us, as_of_us), self._warehouse.watched_until(as_of_us))
        query = examples_query(self._warehouse.project, feature_set, source, which, since)
        found = self._warehouse.rows(f"{query} {_SOME_OUTCOMES}")
        return Outcomes(
            decoded_features(found["features"], names),
            np.array(found["defaulted"].to_pylist(), np.int8),
            weights_of(found["explored_under"].to_pylist(), propensity),
        )

    def dead_letters(self, first_day: int, end_day: int) -> dict[str, int]:
        """Reason to how many came while purchases of these days were decided."""
        found = self._between(_LETTERS, first_day, end_day)
        return dict(sorted(zip(found["reason"].to_pylist(), found["letters"].to_pylist(), strict=True)))

    def recomputed(self, first_day: int, end_day: int) -> tuple[int, int, int]:
        """How many purchases were decided, of how many the vector was computed again, and how many of these came out
        otherwise."""
        [row] = self._between(_RECOMPUTED, first_day, end_day).to_pylist()
        return int(row["decided"]), int(row["vectors"]), int(row["others"])  # the emulator counts in decimals

    def _examples(self, first_us: int, as_of_us: int) -> str:
        """A query: purchases from `first_us` on, with outcomes as they were known at the other moment, or without."""
        seen = views.latest_outcomes(f"observed_at <= TIMESTAMP_MICROS({as_of_us:d})")
        return views.examples_since(seen, first_us).replace("{project}", self._warehouse.project)

    def _between(self, sql: str, first_day: int, end_day: int, **values: object) -> Any:
        bounds = {"first_us": first_day * MICROS_PER_DAY, "end_us": end_day * MICROS_PER_DAY}
        return self._warehouse.rows(sql.format(project=self._warehouse.project, **bounds, **values))


def _texts(values: Iterable[Any], absent: str = UNKNOWN) -> NDArray[np.object_]:
    return np.array([absent if value is None else value for value in values], dtype=object)


def _numbers(values: Iterable[Any]) -> NDArray[np.float64]:
    return np.array([np.nan if value is None else value for value in values], dtype=np.float64)
