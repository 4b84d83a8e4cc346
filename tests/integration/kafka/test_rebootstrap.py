"""Clients whose brokers are all gone, beside a configured one that is there: as after two of three were away, and then
the third."""

from __future__ import annotations

import asyncio

from aiokafka.client import AIOKafkaClient
from aiokafka.structs import BrokerMetadata

from deploy.local.ports import free_port
from shared.kafka.connection import client_arguments
from shared.kafka.producer import OutgoingRecord, ReliableProducer
from shared.settings import KafkaSettings

GONE = 7


def cut_off(client: AIOKafkaClient, port: int) -> None:
    """It knows one broker alone, where nobody listens."""
    client.cluster._brokers = {GONE: BrokerMetadata(GONE, "127.0.0.1", port, None)}


async def test_a_client_that_knows_no_living_broker_asks_the_configured_ones(
    kafka: KafkaSettings, empty_topic: str
) -> None:
    client = AIOKafkaClient(**client_arguments(kafka))
    await client.bootstrap()
    try:
        await client.set_topics([empty_topic])
        known, partitions = client.cluster.brokers(), client.cluster.partitions_for_topic(empty_topic)
        cut_off(client, free_port())
        assert await client.force_metadata_update()
        assert client.cluster.brokers() == known
        assert client.cluster.partitions_for_topic(empty_topic) == partitions == {0, 1}
    finally:
        await client.close()


async def test_where_the_configured_ones_are_away_too_it_keeps_what_it_knows(
    kafka: KafkaSettings, empty_topic: str
) -> None:
    client = AIOKafkaClient(**client_arguments(kafka))
    await client.bootstrap()
    try:
        await client.set_topics([empty_topic])
        client._bootstrap_servers = f"127.0.0.1:{free_port()}"
        cut_off(client, free_port())
        assert not await client.force_metadata_update()
        assert {broker.nodeId for broker in client.cluster.brokers()} == {GONE}
        assert client.cluster.partitions_for_topic(empty_topic) == {0, 1}
    finally:
        await client.close()


async def test_a_producer_goes_on(kafka: KafkaSettings, empty_topic: str) -> None:
    producer = ReliableProducer(kafka)
    await producer.start()
    try:
        await producer.send_all([OutgoingRecord(empty_topic, b"key", b"1")])
        used = producer._producer
        assert used is not None
        cut_off(used.client, free_port())
        for connection in list(used.client._conns.values()):
            connection.close()
        async with asyncio.timeout(30):
            await producer.send_all([OutgoingRecord(empty_topic, b"key", b"2")], deadline_s=25.0)
        assert producer._producer is used
    finally:
        await producer.stop()
