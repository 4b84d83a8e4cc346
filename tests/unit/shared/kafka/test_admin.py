"""Topics that were just created: the controller answers before the brokers know of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from types import SimpleNamespace
from typing import Any

import pytest

from shared.contracts import topics
from shared.kafka import admin
from shared.kafka.errors import TransientError
from shared.settings import KafkaSettings

NAMES = [topic.name for topic in topics.ALL]


class FakeAdmin:
    """Learns of new topics look by look: unknown, without a leader, led."""

    looks: Iterator[Any]
    made: int

    def __init__(self, **_: object) -> None: ...
    async def start(self) -> None: ...
    async def close(self) -> None: ...

    async def list_topics(self) -> list[str]:
        return []

    async def create_topics(self, new: Sequence[Any]) -> Any:
        FakeAdmin.made = len(new)
        return SimpleNamespace(topic_errors=[(topic.name, 0) for topic in new])

    async def describe_topics(self, names: list[str]) -> list[dict[str, Any]]:
        leaders = next(self.looks)
        return [{"topic": name, "partitions": [{"leader": leader} for leader in leaders]} for name in names]


@pytest.fixture(autouse=True)
def _fake(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(admin, "AIOKafkaAdminClient", FakeAdmin)
    monkeypatch.setattr(admin, "LED_POLL_S", 0.0)


async def test_it_returns_once_every_partition_of_a_new_topic_has_a_leader() -> None:
    FakeAdmin.looks = iter([[], [-1, -1], [1, -1], [1, 1]])
    assert await admin.ensure_topics(KafkaSettings()) == NAMES
    assert FakeAdmin.made == len(NAMES)
    assert next(FakeAdmin.looks, None) is None


async def test_without_leaders_for_long_it_says_which(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(admin, "LED_WITHIN_S", -1.0)
    FakeAdmin.looks = iter([[], []])
    with pytest.raises(TransientError, match=NAMES[0]):
        await admin.ensure_topics(KafkaSettings())
