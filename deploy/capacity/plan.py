"""From a demand to partitions, pods, memory and disk. Pure.

Customers are placed by the hash of their id, so partitions are not equally busy, and neither are pods: what has to fit
is the busiest one. It is found by placing customers as Kafka does, not by dividing.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from deploy.capacity.cost import door_cpu, log_bytes, redis_bytes, stream_cpu
from deploy.capacity.demand import DAY_S, GROWTH, LEAST_PODS, MEMORY_RESERVE, REPLICAS, Demand
from deploy.capacity.figures import Figures, Process
from shared.contracts.identity import partition_of
from shared.contracts.topics import DAY_MS, DECISIONS, DEFAULT_PARTITIONS, FEATURES, OUTCOMES, TRANSACTIONS

CONSUMERS = ("features", "scorer", "sink")
DOOR = "scorer"
PLACED_CUSTOMERS = 50_000
"""At most. Fewer than there are makes partitions less equal than they will be, never more."""
SPREAD = 1.0
"""Standard deviation of the logarithm of how much a customer buys: the busiest hundredth then makes a tenth of all
purchases."""
SEED = 20_260_601
MOST_PARTITIONS = 1024
"""KAFKA__PARTITIONS goes no further."""


class DoesNotFit(Exception):
    """No number of pods is enough; the message says of what."""


@dataclass(frozen=True, slots=True)
class Pods:
    """Of one service. CPU in cores at the peak."""

    service: str
    count: int
    busiest_cpu: float
    total_cpu: float
    memory_mb: int
    """To request for each."""


@dataclass(frozen=True, slots=True)
class Plan:
    partitions: int
    busiest_partition: float
    """Its share of all purchases against an equal one."""
    pods: tuple[Pods, ...]
    brokers_cpu: float
    """Of all brokers together, each record written `REPLICAS` times."""
    redis_cpu: float
    redis_gb: float
    """With its reserve, one copy."""
    disk_gb: dict[str, float]
    """By topic, all replicas, once its retention is reached."""
    warehouse_gb_a_day: float


def shares(partitions: int, customers: int) -> list[float]:
    """Of all purchases, what each partition gets. Sums to 1."""
    placed = min(customers, PLACED_CUSTOMERS)
    weights = np.random.default_rng(SEED).lognormal(0.0, SPREAD, placed)
    places = [partition_of(b"customer-%d" % number, partitions) for number in range(placed)]
    found = np.bincount(places, weights=weights, minlength=partitions) / weights.sum()
    return [float(share) for share in found]


def plan(figures: Figures, demand: Demand) -> Plan:
    """Raises DoesNotFit."""
    partitions = demand.partitions or _partitions(figures, demand)
    placed = shares(partitions, demand.customers)
    pods = tuple(_pods(figures, demand, placed, service) for service in CONSUMERS)
    rates = [share * demand.peak for share in placed]
    broker, valkey = (_outside(figures, name, rates, demand) for name in ("kafka", "valkey"))
    mean_checkouts = demand.checkouts * demand.mean / demand.peak
    memory = redis_bytes(
        figures,
        customers=demand.customers,
        purchases_each=demand.purchases_each,
        claims=demand.mean * DAY_S * demand.claim_days,
        keys=mean_checkouts * DAY_S,
    )
    return Plan(
        partitions=partitions,
        busiest_partition=max(placed) * partitions,
        pods=pods,
        brokers_cpu=broker * REPLICAS,
        redis_cpu=valkey,
        redis_gb=memory * MEMORY_RESERVE / 1e9,
        disk_gb=_disk(figures, demand),
        warehouse_gb_a_day=sum(figures.row_bytes.values()) * demand.mean * DAY_S / 1e9,
    )


def _partitions(figures: Figures, demand: Demand) -> int:
    """The least power of two that leaves room to grow; more partitions need more CPU, so it is looked for upwards."""
    partitions = DEFAULT_PARTITIONS
    while partitions <= MOST_PARTITIONS:
        placed = shares(partitions, demand.customers)
        try:
            pods = [_pods(figures, demand, placed, service) for service in CONSUMERS]
            most = max(each.count for each in pods if not _beyond_partitions(demand, each.service))
        except DoesNotFit:
            most = partitions
        if most * GROWTH <= partitions:
            return partitions
        partitions *= 2
    raise DoesNotFit(f"{demand.peak:,.0f} purchases a second want more than {MOST_PARTITIONS} partitions")


def _pods(figures: Figures, demand: Demand, placed: Sequence[float], service: str) -> Pods:
    """The least number of which the busiest is no busier than it may be. The scorer's beyond the partitions' number
    answer checkouts alone."""
    process = figures.processes[service]
    most = MOST_PARTITIONS if _beyond_partitions(demand, service) else len(placed)
    for count in range(min(LEAST_PODS, most), most + 1):
        each = _each_pod(process, figures.partitions, demand, placed, count, door=service == DOOR)
        if max(each) <= demand.busy:
            memory = math.ceil(process.resident_mb * MEMORY_RESERVE / 64) * 64
            return Pods(service, count, max(each), sum(each), memory)
    raise DoesNotFit(f"{service}: {len(placed)} partitions are too few for {demand.peak:,.0f} purchases a second")


def _beyond_partitions(demand: Demand, service: str) -> bool:
    """Whether its pods have something to do that have no partition."""
    return service == DOOR and demand.checkouts > 0


def _each_pod(
    process: Process, measured: int, demand: Demand, placed: Sequence[float], count: int, *, door: bool
) -> list[float]:
    """CPU of each pod: partitions are dealt out in turn, checkouts evenly, outcomes like purchases."""
    asked = door_cpu(process, demand.checkouts / count) if door else 0.0
    found = []
    for number in range(count):
        own = [share * demand.peak for share in placed[number::count]]
        outcomes = sum(own) * process.outcome_full_s
        found.append(process.idle_cpu + stream_cpu(process, measured, own) + outcomes + asked)
    return found


def _outside(figures: Figures, name: str, rates: Sequence[float], demand: Demand) -> float:
    """CPU of what is no service of ours, as if it were one process."""
    process = figures.processes[name]
    used = stream_cpu(process, figures.partitions, rates) + door_cpu(process, demand.checkouts)
    return process.idle_cpu + used + demand.peak * process.outcome_full_s


def _disk(figures: Figures, demand: Demand) -> dict[str, float]:
    kept_s = {
        topic.name: topic.retention_ms / DAY_MS * DAY_S for topic in (TRANSACTIONS, OUTCOMES, FEATURES, DECISIONS)
    }
    return {
        name: log_bytes(figures, {name: demand.mean * seconds}) * REPLICAS / 1e9 for name, seconds in kept_s.items()
    }
