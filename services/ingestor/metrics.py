"""The ingestor's own metrics; the shared ones stand in `shared.telemetry.metrics`."""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram

from services.ingestor.pipeline import SERVICE
from shared.contracts.rejections import RejectionReason
from shared.contracts.topics import TRANSACTIONS
from shared.telemetry.metrics import DEAD_LETTERS, EVENTS, begin_at_nought

CONNECTED = Gauge("flit_ingestor_connected", "1 while the source's stream is open")
CONNECTIONS = Counter("flit_ingestor_connections_total", "Streams asked for, by how they ended", ["ended"])
SOURCE_STOPPED = Gauge("flit_ingestor_source_stopped", "1 once the source is no longer read: too many refused lines")
COMPLETED_DAYS = Counter("flit_ingestor_completed_days_total", "Days of history wholly on Kafka")
LINE_SECONDS = Histogram(
    "flit_ingestor_line_seconds",
    "From a line's arrival to the acknowledgement of its records, for the oldest line of each batch",
    buckets=(0.001, 0.002, 0.004, 0.006, 0.008, 0.01, 0.015, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 30.0),
)

begin_at_nought(DEAD_LETTERS, [SERVICE], RejectionReason)
begin_at_nought(EVENTS, [SERVICE], [TRANSACTIONS.name], ["acknowledged"])
