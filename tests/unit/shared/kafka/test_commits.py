"""When offsets are committed, and what happens where the client never comes back from it. Nothing is connected."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from aiokafka import TopicPartition
from aiokafka.errors import KafkaConnectionError

from shared.kafka import commits as module
from shared.kafka.commits import CommitsStalled, OffsetCommits

ZERO, ONE = TopicPartition("t", 0), TopicPartition("t", 1)


class Client:
    """In place of the real one: a commit that can be held up."""

    def __init__(self) -> None:
        self.committed: list[dict[TopicPartition, int]] = []
        self.errors: list[KafkaConnectionError] = []
        self.go_on = asyncio.Event()
        self.go_on.set()
        self.there = True

    async def end_offsets(self, partitions: list[TopicPartition]) -> dict[TopicPartition, int]:
        if not self.there:
            raise KafkaConnectionError
        return dict.fromkeys(partitions, 9)

    async def commit(self, offsets: dict[TopicPartition, int]) -> None:
        await self.go_on.wait()
        if self.errors:
            raise self.errors.pop()
        self.committed.append(dict(offsets))


@pytest.fixture
async def client() -> Client:
    return Client()


@pytest.fixture
async def commits(client: Client) -> OffsetCommits:
    made: Any = client
    return OffsetCommits(made)


async def test_a_commit_goes_on_beside_the_batches_and_is_never_cut_short(
    commits: OffsetCommits, client: Client
) -> None:
    client.go_on.clear()
    commits.add({ZERO: 5})
    commits.begin_if_due()
    first = commits._task
    await asyncio.sleep(0)
    commits.add({ZERO: 9})
    commits.begin_if_due()
    assert commits._task is first
    client.go_on.set()
    await commits.flush()
    assert client.committed == [{ZERO: 5}, {ZERO: 9}]


async def test_a_commit_that_never_ends_while_batches_go_through_ends_the_process(
    commits: OffsetCommits, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "COMMIT_STALL_S", 0.0)
    client.go_on.clear()
    commits.add({ZERO: 5})
    commits.begin_if_due()
    await asyncio.sleep(0)
    commits.add({ZERO: 6})
    with pytest.raises(CommitsStalled):
        for _ in range(2):
            commits.begin_if_due()
    client.go_on.set()


@pytest.mark.parametrize("there", [True, False], ids=["brokers answer", "brokers away"])
async def test_a_forgotten_commit_with_no_work_after_it_ends_the_process_where_brokers_answer(
    commits: OffsetCommits, client: Client, monkeypatch: pytest.MonkeyPatch, there: bool
) -> None:
    monkeypatch.setattr(module, "COMMIT_STALL_S", 0.0)
    monkeypatch.setattr(module, "QUIET_S", 0.0)
    client.go_on.clear()
    client.there = there
    commits.add({ZERO: 5})
    ended = False
    try:
        for _ in range(20):
            commits.begin_if_due()
            await asyncio.sleep(0.001)
    except CommitsStalled:
        ended = True
    assert ended == there
    client.go_on.set()


async def test_the_last_commit_does_not_hold_up_the_stop(
    commits: OffsetCommits, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "COMMIT_TIMEOUT_S", 0.01)
    client.go_on.clear()
    commits.add({ZERO: 5})
    async with asyncio.timeout(5):
        await commits.flush()
    assert client.committed == []
    client.go_on.set()


async def test_what_was_not_committed_of_partitions_given_back_never_is(commits: OffsetCommits, client: Client) -> None:
    commits.add({ZERO: 5, ONE: 7})
    commits.give_back({ZERO})
    await commits.flush()
    assert client.committed == [{ONE: 7}]


async def test_a_commit_that_fails_is_made_again_with_the_next(commits: OffsetCommits, client: Client) -> None:
    client.errors = [KafkaConnectionError()]
    commits.add({ZERO: 5, ONE: 7})
    await commits.flush()
    commits.add({ZERO: 6})
    await commits.flush()
    assert client.committed == [{ZERO: 6, ONE: 7}]
