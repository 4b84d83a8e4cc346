"""The simulator's own metrics; the shared ones stand in `shared.telemetry.metrics`."""

from __future__ import annotations

from prometheus_client import Counter, Gauge

OPEN_STREAMS = Gauge("flit_simulator_open_streams", "Streams being sent", ["generator", "mode"])
STREAMS = Counter("flit_simulator_streams_total", "Streams by how they ended", ["generator", "mode", "ended"])
HISTORY_DAYS = Counter("flit_simulator_history_days_total", "Days of history sent", ["generator"])
