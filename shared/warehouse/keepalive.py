"""Signs of life on the connections to BigQuery's Storage APIs."""

from __future__ import annotations

KEEPALIVE = (
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    # The one that counts: gRPC sends no sign of life while another ping, of its own measurements, is unanswered, and
    # waits a minute for that one.
    ("grpc.http2.ping_timeout_ms", 10_000),
)
"""All calls share one connection, and a call's time-out leaves it as it is. One that is half open would take every
further call for as long as the kernel sends again, a quarter of an hour, and who only receives would never notice: so
while calls wait, it is asked for a sign of life. Google's servers don't like to be asked more often."""
