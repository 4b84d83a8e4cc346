"""What the processes of a running system have used up, between two moments."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import psutil

from deploy.monitoring.kept import Look, rise
from deploy.monitoring.objectives import Counter, Matcher
from shared.contracts.topics import ALL
from tests.load.running import SERVICES, LoadedSystem

PURCHASES = Counter(
    "flit_events_total", (Matcher("service", "=", "features"), Matcher("topic", "=", "bnpl-transactions"))
)
CHECKOUTS = Counter("flit_decision_seconds_count", (Matcher("channel", "=", "rest"),))


@dataclass(frozen=True, slots=True)
class Moment:
    at_s: float
    """Of `time.monotonic`."""
    pids: Mapping[str, int]
    """Of each part."""
    cpu_s: Mapping[str, float]
    """Of each since its start, user and system."""
    resident_mb: Mapping[str, float]
    metrics: Look


@dataclass(frozen=True, slots=True)
class Span:
    """Between two moments."""

    seconds: float
    purchases: float
    checkouts: float
    cpu_s: Mapping[str, float]
    resident_mb: Mapping[str, float]
    """At its end."""

    @property
    def purchase_rate(self) -> float:
        return self.purchases / self.seconds

    @property
    def checkout_rate(self) -> float:
        return self.checkouts / self.seconds

    def cpu(self, part: str) -> float:
        """Seconds a second."""
        return self.cpu_s[part] / self.seconds


def moment(loaded: LoadedSystem) -> Moment:
    """Now. Raises psutil.NoSuchProcess where a part isn't there, which no measurement survives."""
    metrics, at_s = loaded.look(), time.monotonic()
    cpu_s: dict[str, float] = {}
    resident: dict[str, float] = {}
    pids = _pids(loaded)
    for name, pid in pids.items():
        process = psutil.Process(pid)
        used = process.cpu_times()
        cpu_s[name] = used.user + used.system
        resident[name] = process.memory_info().rss / 1e6
    return Moment(at_s, pids, cpu_s, resident, metrics)


def between(before: Moment, after: Moment) -> Span:
    """Raises RuntimeError where a process ended meanwhile: what it had used up is gone."""
    if before.pids != after.pids:
        raise RuntimeError(f"a process was started anew under load: {dict(before.pids)}, then {dict(after.pids)}")
    return Span(
        seconds=after.at_s - before.at_s,
        purchases=rise(PURCHASES, before.metrics, after.metrics),
        checkouts=rise(CHECKOUTS, before.metrics, after.metrics),
        cpu_s={name: used - before.cpu_s[name] for name, used in after.cpu_s.items()},
        resident_mb=after.resident_mb,
    )


def _pids(loaded: LoadedSystem) -> dict[str, int]:
    stack = loaded.system.stack
    services = {name: loaded.system.supervisor.process(name).pid for name in SERVICES}
    (broker,) = stack.kafka.brokers.values()
    return {**services, "kafka": broker.pid, "valkey": stack.valkey.process.pid}


def log_bytes(loaded: LoadedSystem) -> dict[str, int]:
    """By topic, what the broker's segments hold, of all partitions."""
    folder = loaded.folder / "stack" / "kafka"
    return {topic.name: sum(map(_size, folder.glob(f"**/{topic.name}-*/*.log"))) for topic in ALL}


def _size(file: Path) -> int:
    return file.stat().st_size
