"""The process that publishes for locust, on a real broker."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition

from shared.contracts.identity import partition_of
from shared.contracts.topics import TRANSACTIONS
from shared.kafka.admin import ensure_topics
from shared.settings import KafkaSettings
from tests.load.publisher import OK, answer_of, line_of
from tests.load.purchases import Purchase, Purchases


@pytest.fixture
async def settings(kafka_bootstrap: str) -> KafkaSettings:
    made = KafkaSettings(bootstrap_servers=kafka_bootstrap)
    await ensure_topics(made)
    return made


def published(bootstrap_servers: str, lines: bytes) -> list[tuple[str, str]]:
    command = [sys.executable, "-m", "tests.load.publisher", bootstrap_servers]
    ended = subprocess.run(command, input=lines, capture_output=True, check=True, timeout=120)
    return [answer_of(line) for line in ended.stdout.splitlines(keepends=True)]


async def test_what_is_answered_ok_lies_where_its_key_belongs(settings: KafkaSettings) -> None:
    made = Purchases()
    sent: dict[str, Purchase] = {each.id: each for each in (next(made) for _ in range(20))}
    lines = b"".join(line_of(each.id, each.customer, each.body) for each in sent.values())
    assert sorted(published(settings.bootstrap_servers, lines)) == sorted((own, OK) for own in sent)
    async with AIOKafkaConsumer(bootstrap_servers=settings.bootstrap_servers, auto_offset_reset="earliest") as consumer:
        partitions = [TopicPartition(TRANSACTIONS.name, number) for number in range(settings.partitions)]
        consumer.assign(partitions)
        found: dict[str, tuple[int, bytes]] = {}
        async for record in consumer:
            own = json.loads(record.value)["event_id"]
            if own in sent:
                found[own] = record.partition, record.value
            if len(found) == len(sent):
                break
    expected = {
        each.id: (partition_of(each.customer.encode(), settings.partitions), each.body) for each in sent.values()
    }
    assert found == expected


async def test_a_record_that_is_too_large_is_answered_with_why(settings: KafkaSettings) -> None:
    too_large = line_of("large", "anna", b"x" * 1_500_000)
    ((own, outcome),) = published(settings.bootstrap_servers, too_large)
    assert own == "large"
    assert outcome.startswith("MessageSizeTooLargeError")
