"""Every metric that dashboards and alerts rely on, declared once. A service's own stand in its `metrics.py`."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import product

from prometheus_client import Counter, Gauge, Histogram
from prometheus_client.metrics import MetricWrapperBase

_BATCH_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)
_LATENCY_BUCKETS = (0.001, 0.002, 0.005, 0.01, 0.015, 0.025, 0.05, 0.075, 0.1, 0.15, 0.25, 0.5, 1.0, 2.5, 10.0, 60.0)
"""Finest around the objectives: 15 ms for a REST answer, 50 and 150 ms from event to decision."""

EVENTS = Counter("flit_events_total", "Events by what became of them", ["service", "topic", "result"])
INPUT_WARNINGS = Counter("flit_input_warnings_total", "Accepted inputs that broke a soft rule", ["service", "rule"])
CONSUMER_LAG = Gauge("flit_consumer_lag_records", "Records not yet processed", ["service", "topic", "partition"])
BATCH_SECONDS = Histogram("flit_batch_seconds", "Time for one batch", ["service"], buckets=_BATCH_BUCKETS)
EVENT_TO_DECISION_SECONDS = Histogram(
    "flit_event_to_decision_seconds", "From the record of the purchase to its decision", buckets=_LATENCY_BUCKETS
)
DECISION_SECONDS = Histogram(
    "flit_decision_seconds", "Time that the scorer took to decide", ["channel"], buckets=_LATENCY_BUCKETS
)
DECISIONS = Counter(
    "flit_decisions_total",
    "Decisions; degraded is empty where nothing was",
    ["decision", "variant", "degraded", "channel"],
)
DEAD_LETTERS = Counter("flit_dead_letters_total", "Records refused", ["service", "reason"])
FEATURE_AGE_SECONDS = Histogram(
    "flit_feature_age_seconds", "Age of a feature vector when it was decided on", buckets=_LATENCY_BUCKETS
)
FEATURE_MISMATCH_RATIO = Gauge("flit_feature_mismatch_ratio", "Share of vectors that a recomputation didn't confirm")
MODEL_INFO = Gauge("flit_model_info", "1 for each model in service", ["version", "role"])
MODEL_TRAINED = Gauge("flit_model_trained_timestamp_seconds", "When the model that decides was trained", ["version"])
MODEL_AUC = Gauge("flit_model_auc", "AUC on matured outcomes", ["version"])
DRIFT_SCORE = Gauge("flit_drift_score", "Distance of a feature's distribution from its reference", ["feature"])
SINK_ROWS = Counter("flit_sink_rows_total", "Rows acknowledged by the warehouse", ["table"])
DEGRADED = Gauge("flit_degraded", "1 while there is no model, so that the policy's fallback decides", ["service"])


def begin_at_nought(metric: MetricWrapperBase, *labels: Iterable[str]) -> None:
    """Make the series of every combination of these labels' values. One that begins with its first event seems never to
    have risen: to `rate`, a new pod's first refusals are none, and a table's first row of a quiet night is nothing."""
    for values in product(*labels):
        metric.labels(*values)
