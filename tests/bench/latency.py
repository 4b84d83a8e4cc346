"""From an event to its decision, the whole system at 500 events a second: simulator → ingestor → features → scorer,
each a process, with Kafka, Valkey and whoever looks on two cores. Beside it two bare hops over Kafka, at the same rate.

From the moment at which the source lets a purchase happen, so that what holds it up before Kafka has it counts, to the
timestamp of the decision's record; the bare hops, from one record's timestamp to the other's. All in whole
milliseconds, cut off. What took 2 ms by them took more than 1 and less than 3: quantiles are those of grouped data,
with each millisecond's values spread evenly around it.
"""

from __future__ import annotations

import asyncio
from bisect import bisect_left, bisect_right
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import ExitStack
from datetime import datetime, timedelta
from statistics import median

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition

from deploy.local.ports import free_ports
from shared.contracts.headers import header
from shared.contracts.identity import EPOCH
from shared.contracts.topics import DECISIONS, DEFAULT_PARTITIONS, TRANSACTIONS
from shared.kafka.connection import client_arguments
from shared.settings import KafkaSettings
from tests.bench import booster
from tests.bench.decided import Decided
from tests.bench.events import EVENT_ID
from tests.bench.parts import Parts, sized
from tests.bench.report import Finding, at_most, finding
from tests.bench.rounds import numbered
from tests.e2e.system import until

RATE = 500.0
WARM, EVENTS, BARE_EVENTS = 1_500, 7_500, 5_000
"""In a round: fifteen seconds of ours, ten of the bare hops."""

SETTLING_MS = 1_000
"""Of each, not counted: who sends has just started, and takes a core for it."""

SETTLING = int(RATE * SETTLING_MS / 1000)
KEPT = 0.97
"""Of the rate, by what came: slower, and it would be another measurement."""

PATIENCE_S = 600.0
FIRST, SECOND, THIRD = "bench-hop-1", "bench-hop-2", "bench-hop-3"
NUMBER = "number"
"""The header by which the bare hops' records are known again (peers/relay.py)."""

QUANTILES = {"p50": 0.5, "p99": 0.99, "p99.9": 0.999}
TARGETS_MS = {"p50": 10, "p99": 50, "p99.9": 150}

Step = Callable[[str], None]
Stamp = Callable[[ConsumerRecord], int]
"""ms since 1970."""


def latency(rounds: int, step: Step) -> list[Finding]:
    """Quantiles in ms, round by round."""
    (port,) = free_ports(1)
    source = {
        "SIMTOM__URL": f"http://127.0.0.1:{port}",
        "SIMTOM__CUSTOMER_SCOPE": "source",
        "SIMULATOR__PORT": str(port),
    }
    ours: dict[str, list[float]] = {name: [] for name in QUANTILES}
    bare: dict[str, list[float]] = {name: [] for name in QUANTILES}
    with Parts(source) as parts, ExitStack() as running:
        booster.train(parts.models)
        for topic in (FIRST, SECOND, THIRD):
            parts.create_topic(topic)
        services = {name: parts.service(name) for name in ("simulator", "features", "scorer")}
        for service in services.values():
            running.enter_context(service.running())
        for hop in ((FIRST, SECOND), (SECOND, THIRD)):
            relay = parts.module("relay", parts.kafka.bootstrap_servers, *hop, says="ready")
            running.enter_context(relay.running())
        asyncio.run(_decided(parts, sized(WARM)))
        step("the system is up and warm")
        scorer, events = services["scorer"].port, sized(EVENTS)
        for number in numbered(rounds):
            for found, took_ms in (
                (ours, asyncio.run(_by_model(scorer, events + SETTLING, lambda: _decided(parts, events)))),
                (bare, asyncio.run(_relayed(parts, sized(BARE_EVENTS)))),
            ):
                for name, share in QUANTILES.items():
                    found[name].append(quantile(took_ms, share))
            step(f"round {number + 1}")
    middle, *tails = QUANTILES
    hops = "two bare hops"
    return [
        finding(
            _named(middle), "ms", ours[middle], limit=(hops, bare[middle]),
            targets=[at_most("ours", TARGETS_MS[middle])],
        ),
        *(
            finding(
                _named(tail), "ms", ours[tail], bound=(hops, median(bare[tail])),
                targets=[at_most("ours", TARGETS_MS[tail])],
            )
            for tail in tails
        ),
    ]  # fmt: skip


def _named(which: str) -> str:
    return f"event → decision at {RATE:.0f}/s, {which}"


def quantile(took_ms: Sequence[int], share: float) -> float:
    """Of whole milliseconds, ascending, each of which stands for what lies around it. Half a millisecond at least,
    since it is divided by."""
    rank = share * len(took_ms)
    value = took_ms[min(int(rank), len(took_ms) - 1)]
    below, up_to = bisect_left(took_ms, value), bisect_right(took_ms, value)
    return max(0.5, value - 0.5 + (rank - below) / (up_to - below))


def stamped_ms(record: ConsumerRecord) -> int:
    """When whoever sent it did."""
    return int(record.timestamp)


def happened_ms(record: ConsumerRecord) -> int:
    """When the purchase occurred."""
    moment = datetime.fromisoformat(str(header(record.headers, "ce_time")))
    return (moment - EPOCH) // timedelta(milliseconds=1)


async def _decided(parts: Parts, events: int) -> list[int]:
    """What each event of a live stream took to its decision, in ms, ascending."""
    asked = events + SETTLING
    live = parts.service("ingestor", "live", "--rate", str(RATE), "--max-events", str(asked))
    async with _Watching(parts.kafka, TRANSACTIONS.name, DECISIONS.name, EVENT_ID, happened_ms) as watching:
        await asyncio.to_thread(live.process.run, PATIENCE_S)
        return await watching.took_ms(asked)


async def _by_model(port: int, decided: int, measure: Callable[[], Awaitable[list[int]]]) -> list[int]:
    """What was measured. Raises AssertionError where a fallback decided any of it. `port`: of the scorer's metrics.
    `decided`: how many decisions that takes."""
    before = Decided.at(port)
    took_ms = await measure()

    async def counted() -> bool:  # a moment after the topic has it
        return Decided.at(port).since(before).together >= decided

    await until(counted, f"the scorer to have counted {decided} decisions", PATIENCE_S)
    made = Decided.at(port).since(before)
    assert not made.by_fallback, made
    return took_ms


async def _relayed(parts: Parts, events: int) -> list[int]:
    """The same of bare records, over two hops."""
    asked = events + SETTLING
    arguments = (parts.kafka.bootstrap_servers, "-", FIRST, str(RATE), str(asked))
    async with _Watching(parts.kafka, FIRST, THIRD, NUMBER) as watching:
        await asyncio.to_thread(parts.module("relay", *arguments).process.run, PATIENCE_S)
        return await watching.took_ms(asked)


class _Watching:
    """What two topics get from now on. It reads only once all is over: who looks takes nobody's time."""

    def __init__(self, kafka: KafkaSettings, source: str, target: str, name: str, began_ms: Stamp = stamped_ms) -> None:
        """`name`: of the header that both records of an event have in common. `began_ms`: of the source's records."""
        self._began_ms = began_ms
        self._consumer = AIOKafkaConsumer(**client_arguments(kafka), enable_auto_commit=False)
        self._name = name
        self._partitions = {
            topic: [TopicPartition(topic, number) for number in range(DEFAULT_PARTITIONS)] for topic in (source, target)
        }
        self._source, self._target = source, target

    async def __aenter__(self) -> _Watching:
        await self._consumer.start()
        self._begin = {topic: await self._ends(topic) for topic in self._partitions}
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._consumer.stop()

    async def took_ms(self, asked: int) -> list[int]:
        """From what the source topic got, once the sender has settled, to what the other has of it, ascending. Raises
        AssertionError where it isn't as many as were asked for, something is missing, or they came too slowly."""

        async def all_there() -> bool:
            return await self._count(self._target) >= asked

        await until(all_there, f"{asked} records on {self._target}", PATIENCE_S)
        began = await self._stamps(self._source, self._began_ms)
        ended = await self._stamps(self._target, stamped_ms)
        assert len(began) == asked, f"{len(began)} records on {self._source}, {asked} awaited"
        assert began.keys() == ended.keys(), f"{len(began)} records on {self._source}, {len(ended)} on {self._target}"
        settled = min(began.values()) + SETTLING_MS
        counted = {each: at for each, at in began.items() if at >= settled}
        rate = 1000 * len(counted) / (max(counted.values()) - settled)
        assert rate >= KEPT * RATE, f"{rate:.0f} records a second on {self._source}"
        return sorted(ended[each] - at for each, at in counted.items())

    async def _ends(self, topic: str) -> Mapping[TopicPartition, int]:
        return dict(await self._consumer.end_offsets(self._partitions[topic]))

    async def _count(self, topic: str) -> int:
        return sum((await self._ends(topic)).values()) - sum(self._begin[topic].values())

    async def _stamps(self, topic: str, stamp: Stamp) -> dict[str, int]:
        """What the records' headers name, to their moments, ms since 1970."""
        stamps: dict[str, int] = {}
        ends = await self._ends(topic)
        self._consumer.assign(self._partitions[topic])
        for partition, offset in self._begin[topic].items():
            self._consumer.seek(partition, offset)
        left = sum(ends[partition] - offset for partition, offset in self._begin[topic].items())
        while left > 0:
            for records in (await self._consumer.getmany(timeout_ms=500)).values():
                for record in records:
                    left -= 1
                    stamps.setdefault(str(header(record.headers, self._name)), stamp(record))
        return stamps
