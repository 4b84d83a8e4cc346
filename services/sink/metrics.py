"""Metrics that only the sink has."""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram

from shared.contracts import topics
from shared.telemetry.metrics import SINK_ROWS, begin_at_nought
from shared.warehouse import tables

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0)

APPEND_SECONDS = Histogram("flit_sink_append_seconds", "One append, retries included", ["table"], buckets=_SECONDS)
VISIBLE_SECONDS = Histogram(
    "flit_sink_visible_seconds", "From the record's timestamp to its row, newest record of a batch", ["topic"],
    buckets=_SECONDS,
)  # fmt: skip
TAKEOVERS = Counter("flit_sink_takeovers_total", "Streams made, an earlier one having been finalized", ["table"])
APPEND_FAILURES = Counter("flit_sink_append_failures_total", "Appends that were tried again", ["table", "code"])
WAITING = Gauge("flit_sink_waiting", "1 while appends of this partition fail", ["table", "partition"])

begin_at_nought(SINK_ROWS, [table.id for table in tables.STREAMED])
begin_at_nought(VISIBLE_SECONDS, [topic.name for topic in topics.ALL])
