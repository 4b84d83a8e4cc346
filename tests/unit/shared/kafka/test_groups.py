from __future__ import annotations

from collections.abc import Sequence
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka import TopicPartition
from aiokafka.errors import GroupAuthorizationFailedError, GroupCoordinatorNotAvailableError

from shared.kafka import groups
from shared.kafka.errors import TransientError
from shared.settings import KafkaSettings

ONE, TWO = TopicPartition("t", 0), TopicPartition("t", 1)
MOVING, NOT_ALLOWED = 16, 30


class Coordinator:
    """Gives one answer after the other, the last one for ever."""

    def __init__(self, *answers: Any) -> None:
        self.answers = list(answers)

    def _next(self) -> Any:
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def list_consumer_group_offsets(self, _: str, partitions: Sequence[TopicPartition] | None) -> Any:
        return {tp: SimpleNamespace(offset=offset) for tp, offset in self._next().items()}

    async def describe_consumer_groups(self, _: Sequence[str]) -> Any:
        code, members = self._next()
        return [SimpleNamespace(groups=[(code, "g", "", "", "", [None] * members)])]


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(groups, "POLL_S", 0.001)


async def committed(*answers: Any) -> dict[TopicPartition, int]:
    return await groups.committed(Coordinator(*answers), "g", [ONE, TWO], patience_s=0.05)


async def test_a_coordinator_that_moves_is_waited_for() -> None:
    """It answers with an error that the client drops, and no offsets."""
    away = GroupCoordinatorNotAvailableError()
    assert await committed({}, away, {ONE: 7}, {ONE: 7, TWO: -1}) == {ONE: 7}


async def test_one_that_keeps_moving_is_not_taken_for_nothing_committed() -> None:
    with pytest.raises(TransientError, match="coordinator of g"):
        await committed({})


async def test_what_is_not_allowed_is_said_at_once() -> None:
    with pytest.raises(GroupAuthorizationFailedError):
        await committed(GroupAuthorizationFailedError())


async def running(monkeypatch: pytest.MonkeyPatch, *answers: Any) -> int:
    coordinator = Coordinator(*answers)

    @asynccontextmanager
    async def admin(_: KafkaSettings) -> Any:
        yield coordinator

    monkeypatch.setattr(groups, "admin_client", admin)
    return await groups.running(KafkaSettings(), "g")


async def test_a_group_whose_coordinator_moves_is_not_empty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(groups, "SESSION_TIMEOUT_MS", -1_800)
    assert await running(monkeypatch, (MOVING, 0), (0, 2)) == 2
    with pytest.raises(GroupAuthorizationFailedError):
        await running(monkeypatch, (NOT_ALLOWED, 0))


async def test_who_has_just_ended_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    assert await running(monkeypatch, (0, 1), (0, 1), (0, 0)) == 0
