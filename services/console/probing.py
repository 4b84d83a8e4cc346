"""Whether services are ready, and how far behind: asked at their operations ports."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import httpx
from prometheus_client.parser import text_string_to_metric_families

TIMEOUT_S = 1.0
"""They answer in milliseconds from a thread of their own."""

LAG = "flit_consumer_lag_records"


@dataclass(frozen=True, slots=True)
class Health:
    service: str
    state: str
    """`ready`, `not ready` or `away`."""
    why: str
    """What it says itself; empty where it is ready."""
    lag: int | None
    """Records that wait for it, over all topics; None: it reads none, or doesn't say."""


def probe(addresses: Mapping[str, str]) -> list[Health]:
    """Of each service, all at once."""
    if not addresses:
        return []
    with httpx.Client(timeout=TIMEOUT_S) as client, ThreadPoolExecutor(len(addresses)) as threads:
        return list(threads.map(lambda item: _probe(client, *item), addresses.items()))


def _probe(client: httpx.Client, service: str, address: str) -> Health:
    try:
        ready = client.get(f"{address}/ready")
        metrics = client.get(f"{address}/metrics")
    except httpx.HTTPError as error:
        return Health(service, "away", f"no answer ({type(error).__name__})", None)
    lag = lag_of(metrics.text) if metrics.is_success else None
    if ready.is_success:
        return Health(service, "ready", "", lag)
    return Health(service, "not ready", ready.text.strip()[:200], lag)


def lag_of(metrics: str) -> int | None:
    """Records that wait, summed over topics and partitions, of metrics in Prometheus' text format."""
    try:
        found = [
            sample.value
            for family in text_string_to_metric_families(metrics)
            if family.name == LAG
            for sample in family.samples
        ]
    except ValueError:
        return None
    return int(sum(found)) if found else None
