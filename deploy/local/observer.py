"""Watches the topics from the outside, as any consumer could: what came in, what was decided, how fast."""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition

from shared.contracts.topics import DEAD_LETTERS, DECISIONS, TRANSACTIONS

WATCHED = (TRANSACTIONS.name, DECISIONS.name, DEAD_LETTERS.name)
RECENT = 8
RATE_WINDOW_SECONDS = 5.0


@dataclass
class Observed:
    """What was seen since the watching began. Latencies are those of Kafka's own record timestamps, in ms."""

    purchases: dict[str, int] = field(default_factory=dict)
    """Event id → timestamp of its record, ms since 1970; the first where there are several."""
    decided: dict[str, int] = field(default_factory=dict)
    latencies_ms: dict[str, int] = field(default_factory=dict)
    contradictions: set[str] = field(default_factory=set)
    """Events with two different decisions."""
    mix: Counter[str] = field(default_factory=Counter)
    degraded: Counter[str] = field(default_factory=Counter)
    models: Counter[str] = field(default_factory=Counter)
    dead_letters: Counter[str] = field(default_factory=Counter)
    recent: deque[dict[str, Any]] = field(default_factory=lambda: deque(maxlen=RECENT))
    first_at: float | None = None
    last_at: float | None = None
    _hashes: dict[str, int] = field(default_factory=dict)
    _arrivals: deque[float] = field(default_factory=deque)

    def take(self, record: ConsumerRecord) -> None:
        if record.topic == TRANSACTIONS.name:
            self._purchase(record)
        elif record.topic == DECISIONS.name:
            self._decision(record)
        else:
            self.dead_letters[json.loads(record.value)["reason"]] += 1

    def _purchase(self, record: ConsumerRecord) -> None:
        headers = dict(record.headers)
        event_id = headers["ce_id"].decode() if "ce_id" in headers else json.loads(record.value).get("event_id")
        if event_id is not None:
            self.purchases.setdefault(event_id, record.timestamp)
            self._match(event_id)

    def _decision(self, record: ConsumerRecord) -> None:
        body = json.loads(record.value)
        event_id = body["event_id"]
        digest = hash(record.value)
        if event_id in self._hashes:
            if self._hashes[event_id] != digest:
                self.contradictions.add(event_id)
            return
        now = time.monotonic()
        self.first_at = self.first_at or now
        self.last_at = now
        self._arrivals.append(now)
        self._hashes[event_id] = digest
        self.decided[event_id] = record.timestamp
        self.mix[body["decision"]] += 1
        self.degraded[body["degraded"] or "no"] += 1
        self.models[body["model_version"]] += 1
        self.recent.append(body)
        self._match(event_id)

    def _match(self, event_id: str) -> None:
        if event_id in self.decided and event_id in self.purchases:
            self.latencies_ms[event_id] = self.decided[event_id] - self.purchases[event_id]

    @property
    def missing(self) -> list[str]:
        """Purchases without a decision so far."""
        return [event_id for event_id in self.purchases if event_id not in self.decided]

    def rate(self) -> float:
        """Decisions per second of late."""
        now = time.monotonic()
        while self._arrivals and now - self._arrivals[0] > RATE_WINDOW_SECONDS:
            self._arrivals.popleft()
        if not self._arrivals:
            return 0.0
        return len(self._arrivals) / max(0.5, min(RATE_WINDOW_SECONDS, now - (self.first_at or now)))

    def quantiles_ms(self) -> dict[str, float | None]:
        """p50, p95 and p99 of event to decision."""
        ordered = sorted(self.latencies_ms.values())
        if not ordered:
            return {"p50": None, "p95": None, "p99": None}
        return {
            f"p{percent}": float(ordered[min(len(ordered) - 1, len(ordered) * percent // 100)])
            for percent in (50, 95, 99)
        }


class Observer:
    """Reads the watched topics from their present end on, without being part of a consumer group."""

    def __init__(self, client_arguments: Mapping[str, Any], partitions: int) -> None:
        self._partitions = partitions
        self._consumer = AIOKafkaConsumer(
            # Let the broker gather: who only watches must not ask it hundreds of times a second.
            **client_arguments,
            enable_auto_commit=False,
            fetch_min_bytes=262_144,
            fetch_max_wait_ms=250,
        )
        self._task: asyncio.Task[None] | None = None
        self._taken: dict[TopicPartition, int] = {}
        """Up to which offset each partition was seen (exclusive)."""
        self.seen = Observed()

    async def start(self) -> None:
        """Begin; what is produced after this returns is seen."""
        await self._consumer.start()
        partitions = [TopicPartition(topic, number) for topic in WATCHED for number in range(self._partitions)]
        self._consumer.assign(partitions)
        self._taken = dict(await self._consumer.end_offsets(partitions))
        for partition, end in self._taken.items():
            self._consumer.seek(partition, end)
        self._task = asyncio.create_task(self._watch(), name="observer")

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        await self._consumer.stop()

    def restart_counting(self) -> None:
        """Forget what was seen: the next part begins here."""
        self.seen = Observed()

    async def _watch(self) -> None:
        while True:
            batches = await self._consumer.getmany(timeout_ms=200, max_records=2000)
            for partition, records in batches.items():
                for record in records:
                    self.seen.take(record)
                    self._taken[partition] = record.offset + 1

    async def at_end(self) -> bool:
        """Whether everything was seen that was on the topics when this was called."""
        ends = await self._consumer.end_offsets(list(self._taken))
        return all(self._taken[partition] >= end for partition, end in ends.items())

    def failed(self) -> BaseException | None:
        """The error that ended the watching, if one did."""
        task = self._task
        return task.exception() if task is not None and task.done() and not task.cancelled() else None
