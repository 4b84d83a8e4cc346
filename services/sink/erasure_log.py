"""What the topics hold of one customer: where, how many records, until when, and of which purchases."""

from __future__ import annotations

import asyncio
import base64
import json
import time
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient

from services.sink.lane import SERVICE
from services.sink.up_to_ends import batches_up_to
from shared.contracts import topics
from shared.contracts.identity import partition_of
from shared.kafka.connection import admin_client, client_arguments
from shared.settings import KafkaSettings

POLL_SECONDS = 0.25
POLL_RECORDS = 5000

_DOES = {"features": "take in records of it", "scorer": "decide on records of it", SERVICE: "write rows of it"}


@dataclass
class Held:
    """The customer's records of one topic."""

    records: int = 0
    newest_ms: int = 0
    last: dict[int, int] = field(default_factory=dict)
    """Partition → offset of the last of them."""

    def until(self, topic: topics.Topic) -> datetime | None:
        """When the newest of them is past the topic's declared retention; None: never."""
        if topic.retention_ms < 0:
            return None
        return datetime.fromtimestamp(self.newest_ms / 1000, UTC) + timedelta(milliseconds=topic.retention_ms)


@dataclass
class Traces:
    held: dict[str, Held] = field(default_factory=dict)
    """Topic → what it holds; topics without a record of the customer are absent."""
    events: set[str] = field(default_factory=set)
    waited_for: dict[str, str] = field(default_factory=dict)
    """Topic → which services have still to take in records of it, after waiting for them."""

    def last_of(self, stage: Iterable[topics.Topic]) -> dict[str, dict[int, int]]:
        """Topic → partition → offset of the last of them."""
        return {topic.name: dict(self.held[topic.name].last) for topic in stage if topic.name in self.held}

    def anywhere_but(self, stage: Iterable[topics.Topic], homes: Set[int]) -> bool:
        return any(of_topic.keys() - homes for of_topic in self.last_of(stage).values())

    def add(self, record: ConsumerRecord) -> None:
        held = self.held.setdefault(record.topic, Held())
        held.records += 1
        held.newest_ms = max(held.newest_ms, record.timestamp)
        held.last[record.partition] = record.offset
        event_id = event_of(record.value)
        if event_id is not None:
            self.events.add(event_id)


_STAGES: tuple[tuple[Sequence[topics.Topic], str | None], ...] = (
    ((topics.TRANSACTIONS, topics.OUTCOMES), "features"),
    ((topics.FEATURES,), "scorer"),
    ((topics.DECISIONS, topics.DECISION_UPDATES, topics.DEAD_LETTERS), None),
)
"""As data flow: topics, and the service that has to have taken them in before those of the next stage hold all. What
it has still to take in would bring the customer back once he is gone."""


async def traces(kafka: KafkaSettings, names: Sequence[str], patience_s: float) -> Traces:
    """Go through all topics, each once whoever writes it has taken in what the ones before hold of the customer, and
    then wait for the sink. `names`: every id under which he may be known; `patience_s`: how long to wait in all.

    All partitions, not only the customer's own: a producer may have put a record anywhere. Raises TransientError where
    the brokers stop answering; then nothing is known.
    """
    found = Traces()
    deadline = time.monotonic() + patience_s
    homes = {partition_of(name.encode(), kafka.partitions) for name in names}
    mine = Signs(names)
    consumer = AIOKafkaConsumer(
        **client_arguments(kafka), enable_auto_commit=False, max_partition_fetch_bytes=8_388_608, fetch_max_wait_ms=50,
        # Where retention moves on meanwhile: what is left, not the end.
        auto_offset_reset="earliest",
    )  # fmt: skip
    await consumer.start()
    try:
        async with admin_client(kafka) as admin:
            for stage, service in _STAGES:
                while True:
                    before = found.last_of(stage)
                    for topic in stage:
                        found.held.pop(topic.name, None)
                        found.waited_for.pop(topic.name, None)
                        await _go_through(consumer, topic, kafka.partitions, mine, found)
                    if service is not None:
                        await _wait_for(admin, service, stage, found, deadline)
                    # Again where something lies in a partition that isn't his: features sends it to the one that is.
                    if before == found.last_of(stage) or not found.anywhere_but(stage, homes):
                        break
            await _wait_for(admin, SERVICE, topics.ALL, found, deadline)
    finally:
        await consumer.stop()
    return found


async def _go_through(
    consumer: AIOKafkaConsumer, topic: topics.Topic, partitions: int, mine: Signs, found: Traces
) -> None:
    places = [TopicPartition(topic.name, number) for number in range(partitions)]
    consumer.assign(places)
    first = await consumer.beginning_offsets(places)
    ends = await consumer.end_offsets(places)
    for tp, offset in first.items():
        consumer.seek(tp, offset)
    await _read(consumer, ends, mine, found)


async def _read(consumer: AIOKafkaConsumer, ends: Mapping[TopicPartition, int], mine: Signs, found: Traces) -> None:
    async for batches in batches_up_to(consumer, ends, max_records=POLL_RECORDS):
        for tp, records in batches.items():
            for record in records:
                if record.offset < ends[tp] and mine.on_record(record):
                    found.add(record)


async def _wait_for(
    admin: AIOKafkaAdminClient, service: str, stage: Iterable[topics.Topic], found: Traces, deadline: float
) -> None:
    """Until the service has committed beyond all of these records, or the deadline has passed: then notes which it
    hasn't."""
    held = {topic.name: found.held[topic.name] for topic in stage if topic.name in found.held}
    while True:
        offsets = await admin.list_consumer_group_offsets(f"flit-{service}")
        committed = {tp: at.offset for tp, at in offsets.items()}
        behind = {
            topic: count
            for topic, of_topic in held.items()
            if (count := sum(committed.get(TopicPartition(topic, p), -1) <= last for p, last in of_topic.last.items()))
        }
        if not behind or time.monotonic() > deadline:
            break
        await asyncio.sleep(POLL_SECONDS)
    for topic, count in behind.items():
        more = f"flit-{service} has still to {_DOES[service]}, in {count} partition(s)"
        found.waited_for[topic] = "; ".join(filter(None, (found.waited_for.get(topic), more)))


class Signs:
    """How a record tells that it is somebody's: by its key, or by an id as a whole JSON string in its value."""

    def __init__(self, names: Iterable[str]) -> None:
        self._keys = {name.encode() for name in names}
        self._quoted = {form.encode() for name in names for form in (json.dumps(name), f'"{name}"')}

    def on(self, key: bytes | None, value: bytes | None) -> bool:
        return key in self._keys or any(quoted in (value or b"") for quoted in self._quoted)

    def on_record(self, record: ConsumerRecord) -> bool:
        if self.on(record.key, record.value):
            return True
        if record.topic != topics.DEAD_LETTERS.name:
            return False
        letter = _object(record.value)
        return self.on(from_base64(letter.get("key_base64")), from_base64(letter.get("value_base64")))


def from_base64(text: object) -> bytes | None:
    """None for what isn't any."""
    try:
        return base64.b64decode(text) if isinstance(text, str) else None
    except ValueError:
        return None


def event_of(value: bytes | None) -> str | None:
    """The event id that a record states; None where it states none, or can't be read."""
    stated = _object(value).get("event_id")
    if not isinstance(stated, str):
        return None
    try:
        stated.encode()
    except UnicodeEncodeError:
        return None  # half a character is in no id, and in no key of Redis
    return stated


def _object(value: bytes | None) -> dict[str, Any]:
    """Of a record's JSON; empty where there is none."""
    try:
        body = json.loads(value or b"")
    except (ValueError, RecursionError):  # a record that was refused is his as well
        return {}
    return body if isinstance(body, dict) else {}
