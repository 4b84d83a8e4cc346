"""What was measured of models, live and in training, and how far features have drifted."""

from __future__ import annotations

from datetime import datetime

from services.console.queries.query import Query, at, query
from shared.warehouse import tables

MATURED = "matured"
"""The kind of an evaluation on purchases whose outcome was known."""

MOST_ROWS = 500
MOST_SCORES = 5_000
"""Of drift: a hundred features, looked at fifty times."""


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
    """Live performance by window, the oldest window first."""
    return query(
        f"""
SELECT evaluated_at, model_version, window_from, window_to, `rows` AS examples, auc, brier, ece
FROM {at(tables.MODEL_PERFORMANCE)}
WHERE evaluated_at >= @since
ORDER BY window_to, evaluated_at
LIMIT {MOST_ROWS}
""",
        since=since,
    )


def drift(since: datetime) -> Query:
    """A score for each feature of each look, the latest look first."""
    return query(
        f"""
SELECT evaluated_at, model_version, window_from, window_to, `rows` AS events, feature, score, drifted
FROM {at(tables.DRIFT_METRICS)}
WHERE evaluated_at >= @since
ORDER BY evaluated_at DESC, feature
LIMIT {MOST_SCORES}
""",
        since=since,
    )
