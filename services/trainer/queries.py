"""What the trainer asks BigQuery for, as SQL: examples, features of a time, the stream's clock."""

from __future__ import annotations

from collections.abc import Sequence

from services.trainer.spans import Span
from shared.warehouse import tables, views

MAX_DRIFT_ROWS = 20_000
"""Of a window, drawn by a hash of the event: the comparison itself takes no more than half of them."""


def made_anew(which: str) -> str:
    """A query, for others to read from: the features of a set that were made anew of a purchase's own moment
    (`reprocess`). `which`: a condition on `occurred_at`, which names the days that are read. To be formatted with
    `project` and `feature_set`, as the condition is."""
    return f"""
    SELECT event_id, features FROM `{{project}}.{tables.FEATURES.id}`
    WHERE load_id IS NOT NULL AND feature_set_version = '{{feature_set}}' AND {which}
    QUALIFY ROW_NUMBER() OVER (PARTITION BY event_id ORDER BY computed_at) = 1
"""


_EXAMPLES = f"""
SELECT
  e.event_id, e.transaction_id, e.customer_id, UNIX_MICROS(e.occurred_at) AS occurred_us,
  UNIX_MICROS(e.mature_at) AS mature_us, CAST(e.amount AS FLOAT64) AS amount, e.currency, e.source,
  e.defaulted, e.source_risk_level,
  UNIX_MICROS(e.observed_at) AS outcome_us, CAST(e.days_to_first_missed_payment AS FLOAT64) AS missed_days,
  IF(e.explored, e.policy_version, NULL) AS explored_under,
  TO_JSON_STRING(IF(e.feature_set_version = '{{feature_set}}', e.features, f.features)) AS features
FROM {{source}} AS e
LEFT JOIN ({made_anew("{made_of}")}) AS f ON f.event_id = e.event_id
WHERE {{which}} AND e.observed
  AND (e.feature_set_version = '{{feature_set}}' OR f.event_id IS NOT NULL)
"""
"""Features that were decided on, or else those that were made anew of the same moment (`reprocess`)."""

_BETWEEN = "occurred_at >= TIMESTAMP_MICROS({first_us}) AND occurred_at <= TIMESTAMP_MICROS({last_us})"
_DECIDED_SINCE = views.decided_since("{first_us}")

_FEATURES = f"""
SELECT TO_JSON_STRING(features) AS features
FROM (
  SELECT d.event_id, d.occurred_at, IF(d.feature_set_version = '{{feature_set}}', d.features, f.features) AS features
  FROM (
    SELECT event_id, occurred_at, feature_set_version, features
    FROM ({views.first_records(tables.DECISIONS, f"{_DECIDED_SINCE} AND {_BETWEEN}")})
  ) AS d
  LEFT JOIN ({made_anew(_BETWEEN)}) AS f ON f.event_id = d.event_id
  WHERE d.feature_set_version = '{{feature_set}}' OR f.event_id IS NOT NULL
  UNION ALL
  SELECT event_id, occurred_at, features FROM ({views.loaded_features("{first_us}")})
  WHERE feature_set_version = '{{feature_set}}' AND {_BETWEEN}
)
WHERE {{sound}}
ORDER BY TO_HEX(MD5(event_id)) LIMIT {MAX_DRIFT_ROWS}
"""

CLOCK = f"""
SELECT UNIX_MICROS(MAX(occurred_at)) AS latest FROM `{{project}}.{tables.TRANSACTIONS.id}`
WHERE occurred_at >= TIMESTAMP_MICROS({{since_us}})
"""

WATCHED = f"""
SELECT UNIX_MICROS(MAX(observed_at)) AS latest FROM `{{project}}.{tables.OUTCOMES.id}`
WHERE observed_at >= TIMESTAMP_MICROS({{since_us}}) AND observed_at <= TIMESTAMP_MICROS({{as_of_us}})
  AND misplaced IS NOT TRUE
"""


def examples_query(project: str, feature_set: str, source: str, which: str, made_of: str = "TRUE") -> str:
    """The purchases of `source`, which has the columns of the view of training examples, that meet a condition on `e`,
    with their features. `made_of`: a condition on `occurred_at` of features that were made anew."""
    return _EXAMPLES.format(project=project, feature_set=feature_set, source=source, which=which, made_of=made_of)


def features_query(project: str, first_us: int, last_us: int, feature_set: str, without: Sequence[Span] = ()) -> str:
    """Features of purchases in [first, last], as of `_EXAMPLES`; at most `MAX_DRIFT_ROWS`. `without`: none of these
    times."""
    return _FEATURES.format(
        project=project, first_us=first_us, last_us=last_us, feature_set=feature_set, sound=_outside(without)
    )


def _outside(spans: Sequence[Span]) -> str:
    """A condition: that `occurred_at` lies in none of these."""
    inside = (
        f"NOT (occurred_at >= TIMESTAMP_MICROS({since_us:d}) AND occurred_at < TIMESTAMP_MICROS({until_us:d}))"
        for since_us, until_us in spans
    )
    return " AND ".join(inside) or "TRUE"
