"""Topics that are there already, by a deployer who has no more rights than he needs."""

from __future__ import annotations

import pytest
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from structlog.testing import capture_logs

from shared.contracts import topics
from shared.kafka.admin import ensure_topics
from shared.kafka.connection import admin_client
from tests.integration.kafka.conftest import Secured

TOPIC = topics.OUTCOMES.name

pytestmark = pytest.mark.integration


async def configured(secured: Secured) -> dict[str, str]:
    async with admin_client(secured.administrator) as admin:
        (answer,) = await admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, TOPIC)])
    return {entry[0]: entry[1] for entry in answer.resources[0][4]}


async def test_what_was_configured_otherwise_is_told_of_and_altered_on_demand_alone(secured: Secured) -> None:
    deployer = secured.sasl("flit-deployer")
    declared = await configured(secured)
    with capture_logs() as said:
        assert await ensure_topics(deployer) == []
    assert said == []
    of_before = {"segment.ms": "3600000", "retention.ms": declared["retention.ms"], "max.message.bytes": "2000000"}
    async with admin_client(secured.administrator) as admin:
        await admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, TOPIC, of_before)])
    before = await configured(secured)
    with capture_logs() as said:
        await ensure_topics(deployer)
    (line,) = said
    assert (line["event"], line["topic"]) == ("topic_configured_otherwise", TOPIC)
    assert "segment.ms=3600000" in line["found"] and f"segment.ms={declared['segment.ms']}" in line["expected"]
    assert await configured(secured) == before
    with capture_logs() as said:
        await ensure_topics(deployer, alter=True)
    assert [line["event"] for line in said] == ["topic_altered"]
    assert await configured(secured) == declared | {"max.message.bytes": "2000000"}, "and what else was set stays"
