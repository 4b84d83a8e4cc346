"""What a rebuild asks Kafka before it begins."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from typing import Any, cast

import pytest
from aiokafka import TopicPartition

from services.features import log_ends
from services.features.rebuild import Rebuilder
from shared.contracts.topics import OUTCOMES, TRANSACTIONS
from shared.contracts.transactions import Limits
from shared.feature_state import Position
from shared.settings import KafkaSettings


async def test_commits_beyond_the_end_of_a_log_say_nothing_of_what_comes_there_now(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The log lost its end, and the group's commits didn't: new records there would be taken in without vectors."""
    purchases, outcomes = (TopicPartition(topic, 1) for topic in (TRANSACTIONS.name, OUTCOMES.name))

    class Ends:
        async def end_offsets(self, partitions: Collection[TopicPartition]) -> dict[TopicPartition, int]:
            return dict.fromkeys(partitions, 900)

    @asynccontextmanager
    async def reader(_: KafkaSettings) -> AsyncIterator[Ends]:
        yield Ends()

    async def committed(_: KafkaSettings, group: str, places: Collection[TopicPartition]) -> dict[TopicPartition, int]:
        return {purchases: 1_000, outcomes: 12}

    monkeypatch.setattr(log_ends, "reader", reader)
    monkeypatch.setattr(log_ends, "committed", committed)
    unused = cast(Any, None)
    rebuilder = Rebuilder(unused, unused, KafkaSettings(), unused, limits=Limits(), now=lambda: "", round_records=9)
    assert await rebuilder.taken_in([1, 2]) == {1: Position(899, 11), 2: Position(-1, -1)}


def test_what_was_sent_is_known_by_the_round_where_brokers_have_forgotten_the_commits() -> None:
    """Sent again, an outcome of long ago would follow its own correction."""
    purchases, outcomes = (TopicPartition(topic, 1) for topic in (TRANSACTIONS.name, OUTCOMES.name))
    unused = cast(Any, None)
    rebuilder = Rebuilder(unused, unused, KafkaSettings(), unused, limits=Limits(), now=lambda: "", round_records=100)
    assert rebuilder._sent((purchases, outcomes), {}, Position(5_000, 40)) == Position(4_900, -1)
    assert rebuilder._sent((purchases, outcomes), {purchases: 4_990}, Position(5_000, 900)) == Position(4_989, 800)
