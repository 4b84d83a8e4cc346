"""A broker with encryption, users and rules, for tests of who may do what."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest
from aiokafka.admin import NewTopic

from deploy.local.kafka import Kafka, Node
from deploy.local.kafka_security import ADMINISTRATOR, KafkaSecurity
from deploy.local.ports import free_ports
from deploy.local.stack import CACHE_DIR
from shared.contracts.topics import ALL
from shared.kafka import acls, grants
from shared.kafka.admin import ensure_topics
from shared.kafka.connection import admin_client
from shared.kafka.producer import OutgoingRecord, ReliableProducer
from shared.settings import KafkaSettings

OUTSIDERS = {"shop": "producers", "bank": "repayment system", "reporting": "consumers", "reviews": "case management"}
STRANGER = "stranger"
"""A user whom no rule is about."""


@dataclass(frozen=True)
class Secured:
    """The broker and its users; rules are applied and topics made."""

    kafka: Kafka
    security: KafkaSecurity
    rules: frozenset[grants.Rule] = field(default_factory=lambda: grants.rules({**grants.OURS, **OUTSIDERS}))

    def sasl(self, user: str, password: str | None = None) -> KafkaSettings:
        return self.security.sasl(self.kafka.bootstrap_servers, user, password)

    @property
    def administrator(self) -> KafkaSettings:
        return self.sasl(ADMINISTRATOR)


@pytest.fixture
def kafka(kafka_bootstrap: str) -> KafkaSettings:
    """The suite's broker."""
    return KafkaSettings(bootstrap_servers=kafka_bootstrap)


@pytest.fixture
async def empty_topic(kafka: KafkaSettings, unique: str) -> str:
    """Of two partitions."""
    name = f"topic-{unique}"
    async with admin_client(kafka) as admin:
        await admin.create_topics([NewTopic(name, 2, 1)])
    return name


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secured]:
    folder = tmp_path_factory.mktemp("secured-kafka")
    port, controller_port, mtls_port = free_ports(3)
    security = KafkaSecurity(folder / "security", [*grants.OURS, *OUTSIDERS, STRANGER], {1: mtls_port})
    kafka = Kafka(folder / "kafka", [Node(1, port, controller_port)], CACHE_DIR, security)
    made = Secured(kafka, security)
    try:
        kafka.start()
        asyncio.run(_prepare(made))
        yield made
    finally:
        kafka.stop()


async def _prepare(made: Secured) -> None:
    await acls.apply(made.administrator, made.rules)
    await ensure_topics(made.sasl("flit-deployer"))
    # Until its leader has taken a partition over, it answers that before anything else.
    producer = ReliableProducer(made.administrator)
    await producer.start()
    try:
        await producer.send_all([OutgoingRecord(topic.name, b"k", b"v", partition=0) for topic in ALL])
    finally:
        await producer.stop()
