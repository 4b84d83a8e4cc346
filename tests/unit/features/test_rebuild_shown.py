"""What is told of rebuilds is told of partitions that are ours."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from faust.types import TP
from prometheus_client import REGISTRY

from services.features.app import FeaturesApp
from services.features.metrics import REBUILD_GAPS, REBUILDING
from services.features.prehistory import RecordsMissing
from services.features.rebuild import Rebuilder
from shared.contracts.topics import OUTCOMES, TRANSACTIONS
from shared.contracts.transactions import Limits
from shared.feature_state import Position
from shared.settings import KafkaSettings

TOPICS = (TRANSACTIONS.name, OUTCOMES.name)


@pytest.fixture(autouse=True)
def _nothing_told() -> Iterator[None]:
    yield
    REBUILDING.clear()
    REBUILD_GAPS.clear()


class Interrupted(Rebuilder):
    """Rebuilds nothing: waits for records that nobody has, or for ever."""

    def __init__(self, *, lacking: bool = False) -> None:
        super().__init__(None, None, KafkaSettings(), None, limits=Limits(), now=str, round_records=9)  # type: ignore[arg-type]
        self._lacking = lacking

    async def taken_in(self, partitions: Any) -> dict[int, Position]:
        return {}

    async def _rebuild(self, partition: int) -> None:
        if self._lacking:
            REBUILD_GAPS.labels(TRANSACTIONS.name, partition).set(7)
            raise RecordsMissing(str(partition))
        await asyncio.Event().wait()


class Consumer:
    def __init__(self) -> None:
        self.while_asked: Callable[[], None] = lambda: None

    async def earliest_offsets(self, *assigned: TP) -> dict[TP, int]:
        self.while_asked()
        return dict.fromkeys(assigned, 0)

    async def highwaters(self, *assigned: TP) -> dict[TP, int]:
        return dict.fromkeys(assigned, 10)


class App:
    """Of the application what an assignment needs; the partitions of `whole` have states."""

    resume_points = FeaturesApp.resume_points
    _stop_rebuilding = FeaturesApp._stop_rebuilding
    _rebuild = FeaturesApp._rebuild
    _rebuilt_now = FeaturesApp._rebuilt_now

    def __init__(self, rebuilder: Rebuilder) -> None:
        self._rebuilder, self._rebuilding = rebuilder, None
        self.consumer = Consumer()
        self.whole: set[int] = set()
        self._progress: dict[TP, int] = {}
        self._handler = SimpleNamespace(resume=self._resume, generation=0)

    async def _resume(self, partitions: set[int], *_: object) -> dict[int, Position]:
        return {partition: Position(4, 4) for partition in partitions & self.whole}

    async def assign(self, *partitions: int) -> None:
        await self.resume_points({TP(topic, partition) for topic in TOPICS for partition in partitions})  # type: ignore[misc]
        for _ in range(5):
            await asyncio.sleep(0)  # so far that the rebuild has begun


def rebuilding(partition: int) -> float | None:
    return REGISTRY.get_sample_value("flit_features_rebuilding", {"partition": str(partition)})


def gaps(partition: int) -> float | None:
    labels = {"topic": TRANSACTIONS.name, "partition": str(partition)}
    return REGISTRY.get_sample_value("flit_features_rebuild_gaps", labels)


async def test_a_rebuild_that_ended_with_the_partition_given_away_is_no_longer_told() -> None:
    app = App(Interrupted())
    await app.assign(0, 1)
    assert rebuilding(0) == 1
    app.whole = {1}
    await app.assign(1)
    assert rebuilding(0) is None


async def test_what_is_given_away_while_the_group_is_asked_is_not_rebuilt(monkeypatch: pytest.MonkeyPatch) -> None:
    rebuilder = Interrupted()
    app = App(rebuilder)

    async def asked(_: Any) -> dict[int, Position]:
        app._handler.generation += 1  # as `release` does, when partitions are taken away
        return {}

    monkeypatch.setattr(rebuilder, "taken_in", asked)
    await app.assign(4)
    assert (app._rebuilding, rebuilding(4)) == (None, None)


async def test_a_partition_that_another_process_made_whole_is_not_told_to_be_in_the_making() -> None:
    app = App(Interrupted())
    await app.assign(2)
    assert rebuilding(2) == 1
    app.whole = {2}
    await app.assign(2)
    assert rebuilding(2) == 0


async def test_records_that_nobody_has_are_told_of_while_the_partition_is_ours_and_no_longer() -> None:
    app = App(Interrupted(lacking=True))
    await app.assign(0, 3)
    assert (rebuilding(3), gaps(3)) == (1, 7)
    await app.assign(0, 3)
    assert (rebuilding(3), gaps(3)) == (1, 7), "it still waits for them"
    app.whole = {0, 3}
    await app.assign(0, 3)
    assert (rebuilding(3), gaps(3)) == (0, 7), "its states lack them for good"
    await app.assign(0)
    assert gaps(3) is None
    await app._stop_rebuilding()  # type: ignore[misc]


async def test_what_was_given_up_while_brokers_were_asked_is_neither_watched_nor_rebuilt() -> None:
    app = App(Interrupted())

    def given_up() -> None:
        app._handler.generation += 1

    app.consumer.while_asked = given_up
    app.whole = {0}
    await app.assign(0, 1)
    assert (app._progress, app._rebuilding) == ({}, None)
