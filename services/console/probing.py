"""Whether services are ready, and how far behind: asked at their operations ports.

A name that stands for several processes (a headless Service of Kubernetes, say) is asked at each of its addresses.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import httpx
from prometheus_client.parser import text_string_to_metric_families

TIMEOUT_S = 1.0
"""They answer in milliseconds from a thread of their own."""

LAG = "flit_consumer_lag_records"

_WORST_FIRST = ("away", "not ready", "ready")
MOST_AT_ONCE = 32
"""Questions under way."""


@dataclass(frozen=True, slots=True)
class Health:
    service: str
    state: str
    """`ready`, `not ready` or `away`: of several processes the worst."""
    why: str
    """What that one says itself; empty where it is ready."""
    lag: int | None
    """Records that wait for it, over all topics and processes; None: it reads none, or doesn't say."""
    ready: int
    """Of its processes."""
    processes: int


@dataclass(frozen=True, slots=True)
class _Answer:
    """Of one process."""

    state: str
    why: str
    lag: int | None


def probe(addresses: Mapping[str, str]) -> list[Health]:
    """Of each service, all at once."""
    if not addresses:
        return []
    with httpx.Client(timeout=TIMEOUT_S) as client, ThreadPoolExecutor(MOST_AT_ONCE) as threads:
        places = threads.map(_resolved, addresses.values())
        asked = [
            (service, [threads.submit(_probe, client, httpx.URL(address), host) for host in hosts])
            for (service, address), hosts in zip(addresses.items(), places, strict=True)
        ]
        return [_together(service, [each.result() for each in answers]) for service, answers in asked]


def _resolved(address: str) -> list[str]:
    """The addresses that its name stands for; the name itself where it can't be looked up: who asks there is told."""
    url = httpx.URL(address)
    try:
        found = socket.getaddrinfo(url.host, url.port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return [url.host]
    hosts = sorted({str(place[0]) for *_, place in found})
    # Of one kind: a process with an address of each is one process.
    return [host for host in hosts if ":" not in host] or hosts


def _probe(client: httpx.Client, url: httpx.URL, host: str) -> _Answer:
    # It is asked by its name, and a certificate has to be that of the name, wherever the question goes.
    named = {"Host": url.netloc.decode("ascii")}
    of_name = {} if _is_address(url.host) else {"sni_hostname": url.host}
    try:
        at = str(url.copy_with(host=host)).rstrip("/")
        ready, metrics = (
            client.get(f"{at}/{path}", headers=named, extensions=of_name) for path in ("ready", "metrics")
        )
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        return _Answer("away", f"no answer ({type(error).__name__})", None)
    lag = lag_of(metrics.text) if metrics.is_success else None
    if ready.is_success:
        return _Answer("ready", "", lag)
    return _Answer("not ready", ready.text.strip()[:200], lag)


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _together(service: str, answers: Sequence[_Answer]) -> Health:
    worst = min(answers, key=lambda one: _WORST_FIRST.index(one.state))
    lags = [one.lag for one in answers if one.lag is not None]
    ready = sum(one.state == "ready" for one in answers)
    return Health(service, worst.state, worst.why, sum(lags) if lags else None, ready, len(answers))


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
