"""What stands on a topic after the broker was silent: a broker of its own, which can be held still."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from aiokafka import AIOKafkaConsumer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from deploy.local.kafka import Kafka, Node
from deploy.local.ports import free_port
from deploy.local.stack import CACHE_DIR
from shared.kafka import producer as module
from shared.kafka.connection import client_arguments
from shared.kafka.errors import TransientError
from shared.kafka.producer import OutgoingRecord, ReliableProducer
from shared.settings import KafkaSettings

TOPIC = "numbers"
DEADLINE_S = 2.0


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Kafka]:
    kafka = Kafka(tmp_path, [Node(1, free_port(), free_port())], CACHE_DIR)
    kafka.start()
    yield kafka
    kafka.stop()


async def topic_on(broker: Kafka) -> KafkaSettings:
    """With the topic, of one partition, on it."""
    settings = KafkaSettings(bootstrap_servers=broker.bootstrap_servers)
    admin = AIOKafkaAdminClient(**client_arguments(settings))
    await admin.start()
    await admin.create_topics([NewTopic(TOPIC, 1, 1)])
    await admin.close()
    return settings


@pytest.mark.parametrize(("count", "partition"), [(3, None), (module.WORTH_A_BATCH, 0)])
async def test_a_silent_broker_gets_at_most_one_more_copy_however_often_the_batch_is_tried(
    broker: Kafka, monkeypatch: pytest.MonkeyPatch, count: int, partition: int | None
) -> None:
    monkeypatch.setattr(module, "REQUEST_TIMEOUT_MS", 1000)
    settings = await topic_on(broker)
    producer = ReliableProducer(settings)
    await producer.start()
    await producer.send_all([OutgoingRecord(TOPIC, None, b"before")])
    batch = [OutgoingRecord(TOPIC, None, b"%d" % number, partition=partition) for number in range(count)]

    broker.pause()
    for _ in range(3):
        with pytest.raises(TransientError, match="not acknowledged in time"):
            await producer.send_all(batch, deadline_s=DEADLINE_S)
    broker.resume()
    await producer.send_all(batch)
    await producer.stop()

    copies = Counter(await values(settings))
    assert copies.pop(b"before") == 1
    assert set(copies) == {b"%d" % number for number in range(count)}
    assert max(copies.values()) <= 2


async def test_records_of_one_partition_stand_in_their_order_and_are_told_their_places_over_several_batches(
    broker: Kafka,
) -> None:
    settings = await topic_on(broker)
    producer = ReliableProducer(settings)
    await producer.start()
    filling = b"." * (module.MAX_BATCH_BYTES // 100)
    sent = [b"%d" % number + filling for number in range(250)]
    records = [OutgoingRecord(TOPIC, b"key", value, [("n", value[:3])], 0, 1_000 + k) for k, value in enumerate(sent)]
    placed = await producer.send_all(records)
    await producer.stop()

    assert [(each.partition, each.offset, each.timestamp) for each in placed] == [
        (0, number, 1_000 + number) for number in range(250)
    ]
    assert await values(settings) == sent


async def values(settings: KafkaSettings) -> list[bytes]:
    """All that the topic holds."""
    consumer = AIOKafkaConsumer(TOPIC, **client_arguments(settings), auto_offset_reset="earliest")
    await consumer.start()
    (partition,) = consumer.assignment()
    end = (await consumer.end_offsets([partition]))[partition]
    found: list[bytes] = []
    while len(found) < end:
        for records in (await consumer.getmany(timeout_ms=500)).values():
            found += [record.value for record in records]
    await consumer.stop()
    return found
