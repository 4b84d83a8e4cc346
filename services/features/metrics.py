"""Metrics that only the features service has."""

from __future__ import annotations

from prometheus_client import Counter, Gauge

from services.features.pipeline import SERVICE
from shared.contracts.rejections import RejectionReason
from shared.contracts.topics import OUTCOMES, TRANSACTIONS
from shared.telemetry.metrics import DEAD_LETTERS, EVENTS, begin_at_nought

REROUTED = Counter("flit_features_rerouted_total", "Records sent again to the partition that their key gives")
POSITION = Gauge("flit_features_position", "Offset up to which records are in the states", ["topic", "partition"])
REBUILDING = Gauge("flit_features_rebuilding", "1 while the states of a partition are made anew", ["partition"])
HALTED = Gauge("flit_features_halted", "1 while a topic is not read since too much of it would be refused", ["topic"])
REBUILT = Counter("flit_features_rebuilt_records_total", "Records taken in again by rebuilds", ["topic"])
REBUILT_ROWS = Counter(
    "flit_features_rebuilt_rows_total", "Of these, records that only the warehouse had any more", ["topic"]
)
REBUILD_GAPS = Gauge(
    "flit_features_rebuild_gaps",
    "Records that the last rebuild of a partition needed, and neither log nor warehouse has",
    ["topic", "partition"],
)

begin_at_nought(DEAD_LETTERS, [SERVICE], RejectionReason)
begin_at_nought(EVENTS, [SERVICE], [TRANSACTIONS.name, OUTCOMES.name], ["ok", "duplicate", "refused", "rerouted"])
