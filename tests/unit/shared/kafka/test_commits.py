"""When offsets are committed, and what happens where the client never comes back from it. Nothing is connected."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from aiokafka import TopicPartition

from shared.kafka import consumer as module
from shared.kafka.consumer import BatchConsumer, CommitsStalled
from shared.settings import KafkaSettings

ZERO = TopicPartition("t", 0)


class Client:
    """In place of the real one: a commit that can be held up."""

    def __init__(self) -> None:
        self.committed: list[dict[TopicPartition, int]] = []
        self.go_on = asyncio.Event()
        self.go_on.set()

    async def commit(self, offsets: dict[TopicPartition, int]) -> None:
        await self.go_on.wait()
        self.committed.append(dict(offsets))


@pytest.fixture
async def client() -> Client:
    return Client()


@pytest.fixture
async def consumer(client: Client) -> BatchConsumer:
    consumer = BatchConsumer(KafkaSettings(), service="test", topics=["t"])
    made: Any = client
    consumer._consumer = made
    return consumer


def done(consumer: BatchConsumer, offset: int) -> None:
    consumer._uncommitted[ZERO] = offset


async def test_a_commit_goes_on_beside_the_batches_and_is_never_cut_short(
    consumer: BatchConsumer, client: Client
) -> None:
    client.go_on.clear()
    done(consumer, 5)
    consumer._commit_if_due()
    first = consumer._committing
    await asyncio.sleep(0)
    done(consumer, 9)
    consumer._commit_if_due()
    assert consumer._committing is first
    client.go_on.set()
    await consumer._flush()
    assert client.committed == [{ZERO: 5}, {ZERO: 9}]


async def test_a_commit_that_never_ends_while_batches_go_through_ends_the_process(
    consumer: BatchConsumer, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "COMMIT_STALL_S", 0.0)
    client.go_on.clear()
    done(consumer, 5)
    consumer._commit_if_due()
    await asyncio.sleep(0)
    done(consumer, 6)
    with pytest.raises(CommitsStalled):
        for _ in range(2):
            consumer._commit_if_due()
    client.go_on.set()


async def test_the_last_commit_does_not_hold_up_the_stop(
    consumer: BatchConsumer, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "COMMIT_TIMEOUT_S", 0.01)
    client.go_on.clear()
    done(consumer, 5)
    async with asyncio.timeout(5):
        await consumer._flush()
    assert client.committed == []
    client.go_on.set()
