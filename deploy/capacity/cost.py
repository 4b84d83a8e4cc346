"""What a load costs in CPU and bytes. Pure.

Batches are what makes it other than proportional: on a quiet partition each record is a batch of its own, on a busy one
hundreds share one. So a cost is a curve through what was measured, which ends where a process is busy all the time with
full batches.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise

from deploy.capacity.figures import Figures, Point, Process


def along(points: Sequence[Point], at: float, beyond: float) -> float:
    """Straight lines from the origin through the points; after the last one it rises by `beyond` for each unit."""
    for (x0, y0), (x1, y1) in pairwise([(0.0, 0.0), *points]):
        if at <= x1:
            return y0 + (y1 - y0) * (at - x0) / (x1 - x0)
    last_x, last_y = points[-1] if points else (0.0, 0.0)
    return last_y + (at - last_x) * beyond


def until_full(points: Sequence[Point], full_s: float) -> list[Point]:
    """The same points, and the one at which full batches alone keep one core busy; where that lies beyond them."""
    busy = 1.0 / full_s if full_s > 0 else 0.0
    if points and (busy <= points[-1][0] or points[-1][1] >= 1.0):
        return list(points)
    return [*points, (busy, 1.0)] if busy else list(points)


def stream_cpu(process: Process, measured_partitions: int, partitions: Sequence[float]) -> float:
    """Of one process that reads these partitions. `partitions`: purchases a second on each.

    Batches are made of one partition's records, so that each partition has a cost of its own: a share of what was
    measured with `measured_partitions` of them.
    """
    points = until_full(process.stream, process.stream_full_s)
    each = (along(points, rate * measured_partitions, process.stream_full_s) for rate in partitions)
    return sum(each) / measured_partitions


def door_cpu(process: Process, checkouts: float) -> float:
    """Of one process that is asked so many times a second, beyond the purchases' way over the stream."""
    return along(until_full(process.door, process.door_full_s), checkouts, process.door_full_s)


def predicted_cpu(figures: Figures, events: float, checkouts: float) -> Mapping[str, float]:
    """By part, of one process each that reads all partitions: CPU seconds a second, as in the measured system."""
    evenly = [(events + checkouts) / figures.partitions] * figures.partitions
    return {
        name: process.idle_cpu + stream_cpu(process, figures.partitions, evenly) + door_cpu(process, checkouts)
        for name, process in figures.processes.items()
    }


def state_bytes(figures: Figures, purchases: float) -> float:
    """Of Redis, for a customer with so many purchases in four weeks."""
    last = figures.state_bytes[-2:]
    slope = (last[1][1] - last[0][1]) / (last[1][0] - last[0][0]) if len(last) == 2 else 0.0
    return along(figures.state_bytes, purchases, max(0.0, slope))


def redis_bytes(figures: Figures, *, customers: float, purchases_each: float, claims: float, keys: float) -> float:
    """Of states, claims and idempotency keys together."""
    states = customers * state_bytes(figures, purchases_each)
    return states + claims * figures.claim_bytes + keys * figures.idempotency_bytes


def log_bytes(figures: Figures, records: Mapping[str, float]) -> float:
    """Of one replica. `records`: by topic."""
    return sum(figures.record_bytes[topic] * count for topic, count in records.items())
