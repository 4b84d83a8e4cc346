"""The services as processes: how each is started, and how one knows that it is ready."""

from __future__ import annotations

import os
import re
import sys
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from deploy.local.priority import yielding

READY_TIMEOUT_SECONDS = 120
PROBE_TIMEOUT_SECONDS = 2


@dataclass(frozen=True, slots=True)
class Service:
    """One process: `python -m services.<name>` with these arguments and this operations port."""

    name: str
    metrics_port: int
    arguments: Sequence[str] = ()
    environment: Mapping[str, str] = field(default_factory=dict)

    @property
    def command(self) -> list[str]:
        return [*yielding(self.name), sys.executable, "-m", f"services.{self.name}", *self.arguments]

    def full_environment(self, stack: Mapping[str, str]) -> dict[str, str]:
        """The process's environment: ours, the stack's addresses, its own settings."""
        return {
            **os.environ,
            "PYTHONPATH": str(Path.cwd()),
            # One-row and small-batch numerics gain nothing from threads, and two cores are soon full of them.
            "OMP_NUM_THREADS": "1",
            **stack,
            "METRICS__PORT": str(self.metrics_port),
            # One process of each service: one that is started again finds its partitions waiting, also after kill -9.
            "KAFKA__GROUP_INSTANCE_ID": "local",
            **self.environment,
        }

    def ready(self) -> bool:
        return status_of(self.metrics_port, "/ready") == 200


def status_of(port: int, path: str) -> int | None:
    """HTTP status of a path on the operations port; None where nobody listens."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=PROBE_TIMEOUT_SECONDS) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code
    except OSError:
        return None


def metrics_of(port: int) -> dict[str, float]:
    """Every sample of a service's metrics, by name with labels; empty where nobody listens."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=PROBE_TIMEOUT_SECONDS) as answer:
            text = answer.read().decode()
    except OSError:
        return {}
    samples: dict[str, float] = {}
    for line in text.splitlines():
        if line and not line.startswith("#"):
            name, _, value = line.rpartition(" ")
            samples[name] = float(value)
    return samples


def lag_by_topic(samples: Mapping[str, float]) -> dict[str, float]:
    """Sum of `flit_consumer_lag_records` over partitions, by topic."""
    lag: dict[str, float] = {}
    for name, value in samples.items():
        if name.startswith("flit_consumer_lag_records{"):
            topic = re.search(r'topic="([^"]*)"', name)
            if topic is not None:
                lag[topic.group(1)] = lag.get(topic.group(1), 0) + value
    return lag
