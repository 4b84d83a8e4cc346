"""What features and scorer hold in memory when 10,000 customers buy: code, model, clients and both doors. What is known
of the customers is in Redis. Beside the features service the Quix Streams application of `features`, which keeps its
states in RocksDB; beside the scorer that of `stream`, which keeps nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from contextlib import ExitStack

from shared.contracts.topics import DECISIONS, FEATURES, TRANSACTIONS
from tests.bench import booster, quix
from tests.bench.backlog import Backlog, by_model
from tests.bench.events import purchases
from tests.bench.parts import Parts, Worker, sized
from tests.bench.report import Finding, at_most, finding
from tests.bench.rounds import numbered

CUSTOMERS = 10_000
MOST_MB = 250.0
VECTORS, ANSWERS = "bench-quix-vectors", "bench-quix-answers"
FEATURES_SERVICE, SCORER = "features", "scorer"

Step = Callable[[str], None]


def memory(rounds: int, step: Step) -> list[Finding]:
    """Resident, in MB (10^6), after each round: in each, every customer buys once."""
    with Parts() as parts, ExitStack() as running:
        trained = booster.train(parts.models)
        for topic in (VECTORS, ANSWERS):
            parts.create_topic(topic)
        workers = {
            FEATURES_SERVICE: parts.service(FEATURES_SERVICE),
            SCORER: parts.service(SCORER),
            quix.FEATURES_NAME: quix.features(parts, TRANSACTIONS.name, VECTORS),
            quix.NAME: quix.scorer(parts, trained, FEATURES.name, ANSWERS),
        }
        for worker in workers.values():
            running.enter_context(worker.running())
        step("services are up")
        held = asyncio.run(_held(parts, workers, rounds, step))
    most = (f"{MOST_MB:.0f} MB", [MOST_MB] * len(held[SCORER]))
    return [
        finding(
            "features, resident", "MB", held[FEATURES_SERVICE],
            peer=(quix.FEATURES_NAME, held[quix.FEATURES_NAME]), limit=most, targets=[at_most("ours", MOST_MB)],
        ),
        finding(
            "scorer, resident", "MB", held[SCORER],
            peer=(quix.NAME, held[quix.NAME]), limit=most, targets=[at_most("ours", MOST_MB)],
        ),
    ]  # fmt: skip


async def _held(parts: Parts, workers: Mapping[str, Worker], rounds: int, step: Step) -> dict[str, list[float]]:
    held: dict[str, list[float]] = {name: [] for name in workers}
    customers = sized(CUSTOMERS)
    async with Backlog.open(parts.kafka) as backlog:
        for number in numbered(rounds):
            await backlog.send(list(purchases(range(number * customers, (number + 1) * customers), customers)))
            for topic in (DECISIONS.name, VECTORS, ANSWERS):
                await backlog.reached(topic, (number + 1) * customers)
            for name, worker in workers.items():
                held[name].append(worker.resident_mb)
            step(f"round {number + 1}")
    await by_model([workers[SCORER]], len(held[SCORER]) * customers)
    return held
