"""Topics that were just created: the controller answers before the brokers know of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka.admin.config_resource import ConfigResource

from shared.contracts import topics
from shared.kafka import admin
from shared.kafka.errors import TransientError
from shared.settings import KafkaSettings

NAMES = [topic.name for topic in topics.ALL]


class FakeAdmin:
    """Learns of new topics look by look: unknown, without a leader, led."""

    looks: Iterator[Any]
    made: int
    there: Sequence[str] = ()
    asked: list[list[str]]
    altered: list[str]

    def __init__(self, **_: object) -> None: ...
    async def start(self) -> None: ...
    async def close(self) -> None: ...

    async def list_topics(self) -> list[str]:
        return list(self.there)

    async def create_topics(self, new: Sequence[Any]) -> Any:
        FakeAdmin.made = len(new)
        return SimpleNamespace(topic_errors=[(topic.name, 0) for topic in new])

    async def describe_topics(self, names: list[str]) -> list[dict[str, Any]]:
        leaders = next(self.looks)
        return [{"topic": name, "partitions": [{"leader": leader} for leader in leaders]} for name in names]

    async def describe_configs(self, wanted: Sequence[ConfigResource]) -> list[Any]:
        FakeAdmin.asked.append([each.name for each in wanted])
        kept = [("retention.ms", "1", False, 1)]
        return [SimpleNamespace(resources=[(0, None, 2, each.name, kept) for each in wanted])]

    async def alter_configs(self, wanted: Sequence[ConfigResource]) -> list[Any]:
        FakeAdmin.altered += [each.name for each in wanted]
        return [SimpleNamespace(resources=[(0, None, 2, each.name) for each in wanted])]


@pytest.fixture(autouse=True)
def _fake(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(admin, "AIOKafkaAdminClient", FakeAdmin)
    monkeypatch.setattr(admin, "LED_POLL_S", 0.0)
    monkeypatch.setattr(FakeAdmin, "there", ())
    FakeAdmin.asked, FakeAdmin.altered = [], []


async def test_it_returns_once_every_partition_of_a_new_topic_has_a_leader() -> None:
    FakeAdmin.looks = iter([[], [-1, -1], [1, -1], [1, 1]])
    assert await admin.ensure_topics(KafkaSettings()) == NAMES
    assert FakeAdmin.made == len(NAMES)
    assert next(FakeAdmin.looks, None) is None
    assert FakeAdmin.asked == [], "of topics that were just made, nothing is asked"


async def test_what_is_configured_of_topics_is_asked_in_one_request(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FakeAdmin, "there", NAMES)
    FakeAdmin.looks = iter([[1] * KafkaSettings().partitions])
    assert await admin.ensure_topics(KafkaSettings(), alter=True) == []
    assert FakeAdmin.asked == [NAMES]
    assert FakeAdmin.altered == NAMES


async def test_without_leaders_for_long_it_says_which(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(admin, "LED_WITHIN_S", -1.0)
    FakeAdmin.looks = iter([[], []])
    with pytest.raises(TransientError, match=NAMES[0]):
        await admin.ensure_topics(KafkaSettings())
