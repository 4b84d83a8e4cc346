"""Scorer and features with one process and with two, which share the partitions: events a second, and the CPU that an
event costs. Where Kafka, Valkey and one process fill the cores, a second one finds none; what an event costs then says
what two would do with a core each.

And what follows from that cost for 64 partitions over 16 processes, with customers who buy unequally often: simulated,
without what brokers and stores would have to bear.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from random import Random

from deploy.local.ports import free_ports
from shared.contracts.identity import partition_of
from shared.contracts.topics import DECISIONS, FEATURES
from shared.kafka.producer import OutgoingRecord
from tests.bench import booster
from tests.bench.backlog import Backlog, Pace, by_model
from tests.bench.events import CUSTOMERS, purchases, vectors
from tests.bench.parts import Parts, sized
from tests.bench.report import Finding, at_least, at_most, finding
from tests.bench.rounds import numbered

EVENTS = 20_000
"""In a round of each: some seconds of one process."""

SCORER = "scorer"
OUTPUT = {SCORER: DECISIONS.name, "features": FEATURES.name}
"""In this order: what the features service makes would be the scorer's to decide."""

GAIN = 1.6
MOST_DEARER = 2 / GAIN
"""Two processes with a core each do so much more, as long as an event costs them no more than this."""

PARTITIONS, PROCESSES = 64, 16
SIMULATED_PURCHASES, SIMULATED_CUSTOMERS = 100_000, 20_000

Step = Callable[[str], None]


def scale(rounds: int, step: Step) -> list[Finding]:
    """One service after the other; the other one doesn't run."""
    found: list[Finding] = []
    with Parts() as parts:
        booster.train(parts.models)
        for service in OUTPUT:
            one, two = asyncio.run(_paces(parts, service, rounds, step))
            found += _findings(service, one, two)
    return found


def _findings(service: str, one: Sequence[Pace], two: Sequence[Pace]) -> list[Finding]:
    linear = [PROCESSES * 1000 / pace.cpu_ms for pace in two]
    even = 1 / (PROCESSES * busiest(PARTITIONS, PROCESSES))
    return [
        finding(
            f"{service}, two processes", "events/s", [pace.per_second for pace in two],
            peer=("one process", [pace.per_second for pace in one]), targets=[at_least("ratio", GAIN)],
        ),
        finding(
            f"{service}, two processes, CPU of each event", "ms", [pace.cpu_ms for pace in two],
            peer=("one process", [pace.cpu_ms for pace in one]), targets=[at_most("ratio", MOST_DEARER)],
        ),
        finding(
            f"{service}, {PARTITIONS} partitions over {PROCESSES} processes, simulated", "events/s",
            [even * each for each in linear], limit=("all equally busy", linear),
        ),
    ]  # fmt: skip


async def _paces(parts: Parts, service: str, rounds: int, step: Step) -> tuple[list[Pace], list[Pace]]:
    """Of one process and of two, round by round, by turns first. Each time they are started anew: who has left owns
    nothing. Each time their customers are new: what is known of somebody, and has to be carried, would grow."""
    paces: tuple[list[Pace], list[Pace]] = ([], [])
    each, times = sized(EVENTS), 0
    async with Backlog.open(parts.kafka) as backlog:
        for number in numbered(rounds):
            for processes in (1, 2) if number % 2 == 0 else (2, 1):
                events = _events(service, range(times * each, (times + 1) * each), times * CUSTOMERS)
                times += 1
                # A door each: two can't listen at one port.
                doors = ({"SCORER__HTTP_PORT": str(port)} for port in free_ports(processes))
                workers = [parts.service(service, settings=door) for door in doors]
                with ExitStack() as running:
                    for worker in workers:
                        running.enter_context(worker.running())
                    paces[processes - 1].append(await backlog.pace(workers, events, OUTPUT[service]))
                    if service == SCORER:
                        await by_model(workers, each)
            step(f"{service}, round {number + 1}")
    return paces


def _events(service: str, numbers: range, first: int) -> list[OutgoingRecord]:
    return list(vectors(numbers, first=first) if service == SCORER else purchases(numbers, first=first))


def busiest(partitions: int, processes: int) -> float:
    """The share of all purchases that the busiest of the processes has, each with as many partitions in a row. A
    customer's rank is the lower of two draws, so that the first ones buy twice as often as the average."""
    draw = Random(1)
    loads: Counter[int] = Counter()
    for _ in range(SIMULATED_PURCHASES):
        rank = min(draw.randrange(SIMULATED_CUSTOMERS), draw.randrange(SIMULATED_CUSTOMERS))
        loads[partition_of(f"cust_{rank:06d}".encode(), partitions) * processes // partitions] += 1
    return max(loads.values()) / SIMULATED_PURCHASES
