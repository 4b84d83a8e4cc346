"""What was measured of models, live and in training, and how far features have drifted."""

from __future__ import annotations

from datetime import datetime

from services.console.queries.query import Query, at, query
from shared.warehouse import tables

MATURED = "matured"
"""The kind of an evaluation on purchases whose outcome was known."""

MONTHLY = "four weeks"
"""The periods of live performance that are shown: in a day or a week too few mature for a figure to mean much."""

MOST_ROWS = 500
MOST_LOOKS, MOST_FEATURES = 100, 200
"""Of drift: so many looks, each at all features."""
MOST_COMPARISONS = 20


def evaluations(since: datetime) -> Query:
    """What was measured on matured purchases, the latest first: not of training, gates, or what else is noted there."""
    return query(
        f"""
SELECT evaluated_at, model_version, family, window_from, window_to, `rows` AS examples, metrics
FROM {at(tables.MODEL_EVALUATIONS)}
WHERE evaluated_at >= @since AND kind = @kind
ORDER BY evaluated_at DESC
LIMIT {MOST_ROWS}
""",
        since=since,
        kind=MATURED,
    )


def performance(since: datetime) -> Query:
    """Live performance by window of four weeks, as it is known by now, the latest window first. A window of which too
    little has matured has none."""
    return query(
        f"""
SELECT evaluated_at, model_version, window_from, window_to, `rows` AS examples, auc, brier, ece
FROM {at(tables.MODEL_PERFORMANCE)}
WHERE evaluated_at >= @since AND period = @period AND auc IS NOT NULL
QUALIFY ROW_NUMBER() OVER (PARTITION BY model_version, window_to ORDER BY evaluated_at DESC) = 1
ORDER BY window_to DESC, model_version
LIMIT {MOST_ROWS}
""",
        since=since,
        period=MONTHLY,
    )


_OF_FEATURES = "evaluated_at >= @since AND IFNULL(kind, 'feature') = 'feature'"


def comparisons(since: datetime) -> Query:
    """What features were compared with, and over how many days, the latest first. Of the command `drift`, which looks
    at a window of its caller's choice: 0 days, against ''."""
    return query(
        f"""
SELECT IFNULL(window_days, 0) AS days, IFNULL(against, '') AS against, MAX(evaluated_at) AS latest
FROM {at(tables.DRIFT_METRICS)}
WHERE {_OF_FEATURES}
GROUP BY days, against
ORDER BY latest DESC, days DESC, against DESC
LIMIT {MOST_COMPARISONS}
""",
        since=since,
    )


def drift(since: datetime, days: int, against: str) -> Query:
    """A score for each feature of each of the latest looks of one of the `comparisons`, the latest look first."""
    return query(
        f"""
SELECT evaluated_at, model_version, window_from, window_to, `rows` AS events, feature, score, drifted
FROM {at(tables.DRIFT_METRICS)}
WHERE {_OF_FEATURES} AND IFNULL(window_days, 0) = @days AND IFNULL(against, '') = @against
QUALIFY DENSE_RANK() OVER (ORDER BY evaluated_at DESC) <= {MOST_LOOKS}
ORDER BY evaluated_at DESC, feature
LIMIT {MOST_LOOKS * MOST_FEATURES}
""",
        since=since,
        days=days,
        against=against,
    )
