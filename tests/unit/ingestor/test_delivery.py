from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from services.ingestor.delivery import REFUSALS_TO_JUDGE, Delivery, RefusedShare, TooManyRefused
from services.ingestor.lines import Line
from services.ingestor.pipeline import read_line
from services.ingestor.stopping import Stopped, pause, unless_stopped
from shared.kafka.errors import TransientError
from shared.kafka.producer import OutgoingRecord
from tests.unit.ingestor import recorded


class Topic:
    """Takes records, after failing a given number of times."""

    def __init__(self, failures: int = 0) -> None:
        self.failures = failures
        self.records: list[OutgoingRecord] = []

    async def send_all(self, records: Sequence[OutgoingRecord]) -> None:
        if self.failures:
            self.failures -= 1
            raise TransientError("no broker")
        self.records.extend(records)


GOOD = read_line(recorded.lines("live-1000")[0], recorded.reading())
BAD = read_line(Line(3, b"no event"), recorded.reading())


async def test_each_accepted_line_is_two_records_and_each_refused_one_a_letter() -> None:
    topic = Topic()
    await Delivery(topic, max_refused_share=0.5).deliver([GOOD, BAD], recorded.reading(), asyncio.Event())
    assert [record.topic for record in topic.records] == ["bnpl-transactions", "bnpl-outcomes", "dead-letters"]


async def test_records_bear_the_time_of_the_reading_and_not_that_of_this_machine() -> None:
    topic = Topic()
    await Delivery(topic, max_refused_share=0.5).deliver([GOOD, BAD], recorded.reading(), asyncio.Event())
    assert {record.timestamp_ms for record in topic.records} == {recorded.reading().received_us // 1000}


async def test_a_batch_waits_for_the_brokers_instead_of_being_dropped() -> None:
    topic = Topic(failures=3)
    await Delivery(topic, max_refused_share=0.5).deliver([GOOD], recorded.reading(), asyncio.Event())
    assert len(topic.records) == 2


async def test_it_says_that_it_waits_once_acknowledgements_are_late_and_only_then(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    said: list[bool] = []

    class Watched(Topic):
        async def send_all(self, records: Sequence[OutgoingRecord]) -> None:
            said.append(delivery.waiting)
            monkeypatch.setattr("services.ingestor.delivery.SLOW_SECONDS", -1.0)
            said.append(delivery.waiting)

    delivery = Delivery(Watched(), max_refused_share=0.5)
    await delivery.deliver([GOOD], recorded.reading(), asyncio.Event())
    assert said == [False, True]
    assert not delivery.waiting


async def test_a_stop_while_the_brokers_are_away_gives_the_batch_up() -> None:
    stop = asyncio.Event()

    class Away(Topic):
        async def send_all(self, records: Sequence[OutgoingRecord]) -> None:
            stop.set()
            raise TransientError("no broker")

    with pytest.raises(Stopped):
        await Delivery(Away(), max_refused_share=0.5).deliver([GOOD], recorded.reading(), stop)


async def test_a_source_that_is_mostly_refused_is_left_after_its_letters_are_written() -> None:
    topic = Topic()
    delivery = Delivery(topic, max_refused_share=0.5)
    with pytest.raises(TooManyRefused):
        await delivery.deliver([BAD] * REFUSALS_TO_JUDGE, recorded.reading(), asyncio.Event())
    assert len(topic.records) == REFUSALS_TO_JUDGE


def test_a_bad_moment_is_not_a_broken_source() -> None:
    share = RefusedShare(0.5)
    for _ in range(REFUSALS_TO_JUDGE - 1):
        share.add(refused=True)
    assert not share.exceeded
    share.add(refused=True)
    assert share.exceeded


def test_old_lines_are_forgotten() -> None:
    share = RefusedShare(0.5)
    for _ in range(REFUSALS_TO_JUDGE):
        share.add(refused=True)
    for _ in range(REFUSALS_TO_JUDGE):
        share.add(refused=False)
    assert not share.exceeded


async def test_a_pause_ends_at_once_when_the_process_is_told_to_stop() -> None:
    stop = asyncio.Event()
    asyncio.get_running_loop().call_soon(stop.set)
    async with asyncio.timeout(5):
        with pytest.raises(Stopped):
            await pause(stop, 3600)


async def test_work_that_is_always_ready_does_not_outlive_a_stop() -> None:
    stop = asyncio.Event()
    stop.set()

    async def ready() -> int:
        return 1

    with pytest.raises(Stopped):
        await unless_stopped(stop, ready())


async def test_work_in_hand_may_finish_within_its_grace() -> None:
    stop = asyncio.Event()

    async def short() -> str:
        stop.set()
        await asyncio.sleep(0)
        return "done"

    assert await unless_stopped(stop, short(), grace_s=5) == "done"
