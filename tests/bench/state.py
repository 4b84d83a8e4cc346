"""What a customer costs in Redis, and how long it takes to make the states of a log anew.

`REBUILD_EVENTS=1000000` rebuilds from a million purchases, as the target says; by default it is fewer, and the seconds
are those that a million would take at the same pace, the process's start counted once.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from aiokafka import AIOKafkaConsumer, TopicPartition
from redis.asyncio import Redis

from deploy.local.ports import free_ports
from deploy.local.processes import ManagedProcess
from deploy.local.services import Service
from deploy.local.stack import EmbeddedStack
from shared.contracts.events import Outcome
from shared.contracts.identity import from_epoch_micros
from shared.contracts.topics import DEFAULT_PARTITIONS, OUTCOMES, TRANSACTIONS
from shared.contracts.transactions import AcceptedTransaction
from shared.exposure import ExposureStore, Reservation, Standing
from shared.feature_definitions import CustomerState
from shared.feature_definitions.windows import day_of
from shared.feature_state import EMPTY, FeatureStateStore, Move, Position
from shared.kafka.admin import ensure_topics
from shared.kafka.connection import consumer_arguments
from shared.kafka.producer import ReliableProducer
from shared.settings import KafkaSettings
from tests import factories
from tests.bench.embedded import kafka_and_valkey
from tests.bench.parts import sized
from tests.bench.purchases import send
from tests.bench.report import Finding, at_most, finding

USUAL, MANY, MORE = 30, 1_000, 10_000
"""Purchases of a customer, over DAYS."""

DENSER = 3.0
"""Ten times as many purchases in the same time fill more of the windows' 354 tiles; when all are, that is all."""

DAYS = 90
MOST_BYTES = 2048.0
TERM_DAYS, INSTALMENTS = 14, 4
MILLION = 1_000_000
REBUILD_EVENTS, REBUILD_LIMIT_S = 200_000, 180.0
EVENTS_EACH = 20
PATIENCE_S = 3600.0

Step = Callable[[str], None]


def state(rounds: int, step: Step) -> list[Finding]:
    """Bytes don't differ from round to round, and a rebuild is long: one of each."""
    del rounds
    events = int(os.environ.get("REBUILD_EVENTS", sized(REBUILD_EVENTS)))
    folder = Path(tempfile.mkdtemp(prefix="flit-bench-"))
    try:
        with kafka_and_valkey(folder) as stack:
            whole, alone = asyncio.run(_bytes_of(stack, USUAL, with_account=True))
            (_, many), (_, more) = [asyncio.run(_bytes_of(stack, count)) for count in (MANY, MORE)]
            step("bytes are counted")
            start, took = _rebuild(folder, stack, events, step)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    limit = ("2 KiB", [MOST_BYTES])
    within = [at_most("of_limit", 1)]
    return [
        finding(f"Redis, a customer's state, {USUAL} purchases", "bytes", [alone], limit=limit, targets=within),
        finding(f"Redis, all of a customer, {USUAL} purchases", "bytes", [whole], limit=limit, targets=within),
        finding(
            f"Redis, a customer's state, {MORE:,} purchases", "bytes", [more],
            peer=(f"{MANY:,} purchases", [many]), targets=[at_most("ratio", DENSER)],
        ),
        finding(
            f"rebuild of a million events, from {events:,}", "s", [start + took * MILLION / events],
            limit=("3 min", [REBUILD_LIMIT_S]), targets=within,
        ),
    ]  # fmt: skip


async def _bytes_of(stack: EmbeddedStack, count: int, *, with_account: bool = False) -> tuple[float, float]:
    """Of all keys of a customer with so many purchases, each with its outcome; and of the one key that holds his state.
    `with_account`: all were approved. More than a few tens, no limit would allow."""
    customer, partition = f"cust_{count:06d}", count % DEFAULT_PARTITIONS
    redis = Redis.from_url(stack.valkey.url)
    store, accounts = FeatureStateStore(redis), ExposureStore(redis)
    past = CustomerState()
    for number in range(count):
        t_us = factories.START_US + number * DAYS * factories.DAY_US // count
        event_id = f"{number:032x}"
        past.add_purchase(_accepted(number, event_id, customer, t_us))
        known_us = t_us + TERM_DAYS * INSTALMENTS * factories.DAY_US
        outcome = Outcome(
            event_id=event_id,
            customer_id=customer,
            defaulted=False,
            days_to_first_missed_payment=None,
            observed_at=from_epoch_micros(known_us),
        )
        past.add_outcome(outcome, known_us)
        if with_account:
            placed = (partition, customer, Reservation(event_id, 6751, day_of(t_us), TERM_DAYS, INSTALMENTS))
            assert await accounts.reserve([placed], None, t_us // 1000) == [True]
            await accounts.settle([(placed, Standing.COUNTS)])
    await store.begin(partition, EMPTY)
    await store.commit([Move(partition, EMPTY, Position(count, count), {customer: past.encode()})])
    used = {bytes(key): float(await redis.memory_usage(key) or 0) async for key in redis.scan_iter(f"*{customer}")}
    await store.forget(partition)
    await redis.aclose()
    (alone,) = (size for key, size in used.items() if b":c:" in key)
    return sum(used.values()), alone


def _accepted(number: int, event_id: str, customer: str, t_us: int) -> AcceptedTransaction:
    return factories.accepted(
        number,
        event_id=event_id,
        t_us=t_us,
        customer_id=customer,
        device={"id": f"{customer}_device_{number % 3}"},
        payment={"method_id": f"{customer}_pm_{number % 4}"},
    )


def _rebuild(folder: Path, stack: EmbeddedStack, events: int, step: Step) -> tuple[float, float]:
    """Seconds from the start of a process that finds Redis empty and the log read by its group, until it has begun to
    write states; and from then until it is ready."""
    kafka = KafkaSettings(bootstrap_servers=stack.kafka.bootstrap_servers)
    asyncio.run(_read_log(kafka, events))
    step("the log is written")
    (port,) = free_ports(1)
    service = Service("features", port)
    process = ManagedProcess(
        "features",
        service.command,
        log_file=folder / "features.log",
        environment=service.full_environment(stack.environment() | {"FEATURES__REBUILD_FROM_WAREHOUSE": "false"}),
    )
    times = [time.perf_counter()]
    process.start()
    try:
        for condition in (lambda: asyncio.run(_taken_in(stack)) > 0, service.ready):
            process.wait_until(condition, PATIENCE_S)
            times.append(time.perf_counter())
        assert asyncio.run(_taken_in(stack)) == events
    finally:
        process.stop()
    began, writing, ready = times
    return writing - began, ready - writing


async def _read_log(kafka: KafkaSettings, events: int) -> None:
    """A log of so many purchases, committed to its end by the service's group: what is left where Redis is lost."""
    await ensure_topics(kafka)
    producer = ReliableProducer(kafka)
    await producer.start()
    await send(producer, range(events), customers=max(1, events // EVENTS_EACH))
    await producer.stop()
    reader = AIOKafkaConsumer(**consumer_arguments(kafka, "features"))
    await reader.start()
    topics = (TRANSACTIONS.name, OUTCOMES.name)
    partitions = [TopicPartition(topic, number) for topic in topics for number in range(kafka.partitions)]
    reader.assign(partitions)
    await reader.commit(dict(await reader.end_offsets(partitions)))
    await reader.stop()


async def _taken_in(stack: EmbeddedStack) -> int:
    """Purchases that the states hold."""
    redis = Redis.from_url(stack.valkey.url)
    store = FeatureStateStore(redis)
    positions = [await store.position(number) for number in range(DEFAULT_PARTITIONS)]
    await redis.aclose()
    return sum(position.transactions + 1 for position in positions)
