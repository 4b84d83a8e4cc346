"""Measures what a purchase costs, for the model in deploy/capacity."""

from __future__ import annotations

import asyncio
import os
import platform
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

from deploy.capacity.demand import STATE_DAYS
from deploy.capacity.figures import Figures, Point
from shared.contracts.topics import DECISIONS, DEFAULT_PARTITIONS, FEATURES, OUTCOMES, TRANSACTIONS, Topic
from tests.capacity.fitting import Spans, process_of
from tests.capacity.loads import PACED_S, Loads
from tests.capacity.redis_use import use
from tests.capacity.rows import row_bytes
from tests.capacity.watching import Span, log_bytes
from tests.e2e.system import Log
from tests.load.purchases import Purchase, Purchases
from tests.load.running import LoadedSystem
from tests.load.shapes import Rates

STREAM = (Rates(1, 19), Rates(1, 79), Rates(1, 199))
"""With one checkout: whether the door works is seen by it."""
DOOR = (Rates(10, 40), Rates(40, 40))
CUSTOMERS, PREFIX = 1000, "measured"
BACKLOGS = (1, 9, 20)
"""Purchases of each customer: afterwards everybody has 1, 10, 30. Full batches are measured on the last."""

Step = Callable[[str], None]


def measure(loaded: LoadedSystem, folder: Path, step: Step, seconds: float = PACED_S) -> Figures:
    """`seconds`: of each paced load. Raises RuntimeError where a load was not what it should have been."""
    loads, made = Loads(loaded, folder), Purchases(CUSTOMERS, PREFIX)
    valkey, each = loaded.system.stack.valkey.url, 0
    states: list[Point] = []
    for number, more in enumerate(BACKLOGS):
        backlog, each = _past(made, number), each + more
        full = loads.backlog(backlog)
        states.append((float(each), use(valkey, PREFIX).customers_bytes / CUSTOMERS))
        step(f"backlog of {len(backlog):,}: {full.purchase_rate:,.0f} purchases/s")
    outcomes = loads.outcomes(backlog)
    outcome_bytes = log_bytes(loaded)[OUTCOMES.name] / len(backlog)
    step(f"{len(backlog):,} outcomes in {outcomes.seconds:.0f} s")
    idle = loads.idle()
    step("idle")
    sizes_before, counts_before = log_bytes(loaded), _counts(loaded)

    def paced(rates: Rates) -> Span:
        span = loads.paced(rates, seconds)
        step(f"paced: {span.purchase_rate:.0f} purchases/s, {span.checkout_rate:.0f} of them checkouts")
        return span

    stream, door = [paced(rates) for rates in STREAM], [paced(rates) for rates in DOOR]
    sizes, counts = log_bytes(loaded), _counts(loaded)
    asked = loads.asked(made)
    step(f"always asking: {asked.checkout_rate:,.0f} checkouts/s")
    spans = Spans(idle, stream, door, full, asked, outcomes, len(backlog))
    held = use(valkey, PREFIX)
    return Figures(
        measured_at=f"{datetime.now(UTC):%Y-%m-%d}",
        machine=f"{_processor()}, {os.cpu_count()} cores",
        partitions=DEFAULT_PARTITIONS,
        processes={name: process_of(name, spans) for name in idle.cpu_s},
        # Of paced records: a backlog's are sent many at once, and compressed together.
        record_bytes={
            topic.name: (sizes[topic.name] - sizes_before[topic.name]) / (counts[topic] - counts_before[topic])
            for topic in counts
        }
        | {OUTCOMES.name: outcome_bytes},
        state_bytes=tuple(states),
        claim_bytes=held.claim_bytes,
        idempotency_bytes=held.key_bytes,
        row_bytes=row_bytes(loaded.system.stack.bigquery.settings),
    )


def _past(made: Purchases, number: int) -> list[Purchase]:
    """Of every customer as many as the backlog has, one after the other, within its share of four weeks."""
    share_s = timedelta(days=STATE_DAYS).total_seconds() / len(BACKLOGS)
    begins_s, count = share_s * (len(BACKLOGS) - number), BACKLOGS[number]
    return [
        made.make(customer, timedelta(seconds=begins_s - share_s * turn / count))
        for turn in range(count)
        for customer in range(CUSTOMERS)
    ]


def _counts(loaded: LoadedSystem) -> dict[Topic, int]:
    async def count() -> dict[Topic, int]:
        log = Log(loaded.kafka)
        return {topic: await log.count(topic.name) for topic in (TRANSACTIONS, FEATURES, DECISIONS)}

    return asyncio.run(count())


def _processor() -> str:
    """Its name where Linux tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.machine()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())
