"""From an event to its decision, the whole system at 500 events a second: simulator → ingestor → features → scorer,
each a process, with Kafka, Valkey and whoever looks on two cores. Beside it two bare hops over Kafka, at the same rate.

By Kafka's own record timestamps, which are whole milliseconds: the decision's less that of the purchase.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import ExitStack

from aiokafka import AIOKafkaConsumer, TopicPartition

from deploy.local.ports import free_ports
from shared.contracts.headers import header
from shared.contracts.topics import DECISIONS, DEFAULT_PARTITIONS, TRANSACTIONS
from shared.kafka.connection import client_arguments
from shared.settings import KafkaSettings
from tests.bench import booster
from tests.bench.decided import Decided
from tests.bench.events import EVENT_ID
from tests.bench.parts import Parts, sized
from tests.bench.report import Finding, at_most, finding
from tests.e2e.system import until

RATE = 500.0
WARM, EVENTS, BARE_EVENTS = 1_500, 7_500, 2_500
"""In a round: fifteen seconds of ours, five of the bare hops."""

PATIENCE_S = 600.0
FIRST, SECOND, THIRD = "bench-hop-1", "bench-hop-2", "bench-hop-3"
NUMBER = "number"
"""The header by which the bare hops' records are known again (peers/relay.py)."""

QUANTILES = {"p50": 0.5, "p99": 0.99, "p99.9": 0.999}
TARGETS_MS = {"p50": 10, "p99": 50, "p99.9": 150}

Step = Callable[[str], None]


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
        scorer = services["scorer"].port
        for number in range(rounds):
            for found, took_ms in (
                (ours, asyncio.run(_by_model(scorer, lambda: _decided(parts, sized(EVENTS))))),
                (bare, asyncio.run(_relayed(parts, sized(BARE_EVENTS)))),
            ):
                for name, share in QUANTILES.items():
                    found[name].append(float(took_ms[min(int(len(took_ms) * share), len(took_ms) - 1)]))
            step(f"round {number + 1}")
    return [
        finding(
            f"event → decision at {RATE:.0f}/s, {name}", "ms", ours[name],
            # Of whole milliseconds none is one as well, to divide by.
            limit=("two bare hops", [max(each, 1.0) for each in bare[name]]),
            targets=[at_most("ours", TARGETS_MS[name])],
        )
        for name in QUANTILES
    ]  # fmt: skip


async def _decided(parts: Parts, events: int) -> list[int]:
    """What each event of a live stream took to its decision, in ms, ascending."""
    live = parts.service("ingestor", "live", "--rate", str(RATE), "--max-events", str(events))
    async with _Watching(parts.kafka, TRANSACTIONS.name, DECISIONS.name, EVENT_ID) as watching:
        await asyncio.to_thread(live.process.run, PATIENCE_S)
        return await watching.took_ms()


async def _by_model(port: int, measure: Callable[[], Awaitable[list[int]]]) -> list[int]:
    """What was measured. Raises AssertionError where a fallback decided any of it. `port`: of the scorer's metrics."""
    before = Decided.at(port)
    took_ms = await measure()

    async def counted() -> bool:  # a moment after the topic has it
        return Decided.at(port).since(before).together >= len(took_ms)

    await until(counted, f"the scorer to have counted {len(took_ms)} decisions", PATIENCE_S)
    made = Decided.at(port).since(before)
    assert not made.by_fallback, made
    return took_ms


async def _relayed(parts: Parts, events: int) -> list[int]:
    """The same of bare records, over two hops."""
    arguments = (parts.kafka.bootstrap_servers, "-", FIRST, str(RATE), str(events))
    async with _Watching(parts.kafka, FIRST, THIRD, NUMBER) as watching:
        await asyncio.to_thread(parts.module("relay", *arguments).process.run, PATIENCE_S)
        return await watching.took_ms()


class _Watching:
    """What two topics get from now on. It reads only once all is over: who looks takes nobody's time."""

    def __init__(self, kafka: KafkaSettings, source: str, target: str, name: str) -> None:
        """`name`: of the header that both records of an event have in common."""
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

    async def took_ms(self) -> list[int]:
        """From all that the source topic got to what the other has of it, ascending. Raises AssertionError where
        nothing came, or something is missing."""
        events = await self._count(self._source)

        async def all_there() -> bool:
            return await self._count(self._target) >= events > 0

        await until(all_there, f"{events} records on {self._target}", PATIENCE_S)
        began, ended = await self._stamps(self._source), await self._stamps(self._target)
        assert began.keys() == ended.keys(), f"{len(began)} records on {self._source}, {len(ended)} on {self._target}"
        return sorted(ended[each] - at for each, at in began.items())

    async def _ends(self, topic: str) -> Mapping[TopicPartition, int]:
        return dict(await self._consumer.end_offsets(self._partitions[topic]))

    async def _count(self, topic: str) -> int:
        return sum((await self._ends(topic)).values()) - sum(self._begin[topic].values())

    async def _stamps(self, topic: str) -> dict[str, int]:
        """What the records' headers say to when they were made, ms since 1970."""
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
                    stamps.setdefault(str(header(record.headers, self._name)), record.timestamp)
        return stamps
