from __future__ import annotations

from collections.abc import Iterator

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from deploy.local.kafka import Kafka, Node
from deploy.local.ports import free_ports
from deploy.local.stack import CACHE_DIR


@pytest.fixture(scope="module")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kafka]:
    """One that may be killed."""
    port, controller_port = free_ports(2)
    broker = Kafka(tmp_path_factory.mktemp("kafka"), [Node(1, port, controller_port)], CACHE_DIR)
    try:
        broker.start()
        yield broker
    finally:
        broker.kill()


async def create_topic(servers: str, name: str) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=servers)
    await admin.start()
    try:
        await admin.create_topics([NewTopic(name, num_partitions=1, replication_factor=1)])
    finally:
        await admin.close()


async def produce(servers: str, topic: str, values: list[bytes]) -> None:
    producer = AIOKafkaProducer(bootstrap_servers=servers, acks="all", enable_idempotence=True)
    await producer.start()
    try:
        for value in values:
            await producer.send_and_wait(topic, value)
    finally:
        await producer.stop()


async def consume(servers: str, topic: str) -> list[bytes]:
    """All of its first partition."""
    consumer = AIOKafkaConsumer(bootstrap_servers=servers, auto_offset_reset="earliest")
    await consumer.start()
    try:
        partition = TopicPartition(topic, 0)
        consumer.assign([partition])
        end = (await consumer.end_offsets([partition]))[partition]
        return [(await consumer.getone()).value for _ in range(end)]
    finally:
        await consumer.stop()


async def test_acknowledged_records_survive_a_kill(kafka: Kafka, unique: str) -> None:
    values = [f"{number}".encode() for number in range(100)]
    await create_topic(kafka.bootstrap_servers, unique)
    await produce(kafka.bootstrap_servers, unique, values)
    kafka.kill()
    assert not kafka.running
    kafka.start()
    assert await consume(kafka.bootstrap_servers, unique) == values


async def test_a_clean_restart_keeps_the_data_too(kafka: Kafka, unique: str) -> None:
    await create_topic(kafka.bootstrap_servers, unique)
    await produce(kafka.bootstrap_servers, unique, [b"kept"])
    kafka.restart()
    assert await consume(kafka.bootstrap_servers, unique) == [b"kept"]


async def test_a_topic_that_nobody_declared_is_not_made_by_asking_for_it(kafka_bootstrap: str, unique: str) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka_bootstrap)
    await admin.start()
    try:
        asked = await admin.describe_topics([unique])
        assert asked[0]["error_code"] == 3  # UNKNOWN_TOPIC_OR_PARTITION
        assert unique not in await admin.list_topics()
    finally:
        await admin.close()


async def test_the_first_member_of_a_group_does_not_wait_for_others(kafka_bootstrap: str, unique: str) -> None:
    """By what the brokers go by, which is 3 s unless told otherwise: on a busy machine joining takes as long anyway."""
    await create_topic(kafka_bootstrap, unique)
    consumer = AIOKafkaConsumer(unique, bootstrap_servers=kafka_bootstrap, group_id=unique)
    await consumer.start()
    try:
        await consumer.getmany(timeout_ms=0)
        assert consumer.assignment() == {TopicPartition(unique, 0)}
    finally:
        await consumer.stop()
    assert set(await settings_of_brokers(kafka_bootstrap, "group.initial.rebalance.delay.ms")) == {"0"}


async def settings_of_brokers(servers: str, name: str) -> list[str]:
    """What each has in force."""
    admin = AIOKafkaAdminClient(bootstrap_servers=servers)
    await admin.start()
    try:
        brokers = [str(broker["node_id"]) for broker in (await admin.describe_cluster())["brokers"]]
        asked = [ConfigResource(ConfigResourceType.BROKER, broker, {name: ""}) for broker in brokers]
        answers = await admin.describe_configs(asked)
        return [entry[1] for answer in answers for resource in answer.resources for entry in resource[4]]
    finally:
        await admin.close()
