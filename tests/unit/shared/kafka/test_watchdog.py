"""The watchdog over scripts of what it sees."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import pytest
from faust.types import TP
from prometheus_client import REGISTRY

from shared.kafka.watchdog import LogEnds, Stalled, watch
from shared.settings import KafkaSettings

ONE, OTHER = TP("bnpl-transactions", 0), TP("bnpl-transactions", 1)
STALL_SECONDS, LOOK_SECONDS = 0.03, 0.002
MANY_LOOKS = 60
"""Four times as many as fit into STALL_SECONDS."""


@dataclass
class Look:
    """What one look finds. `end`: one past the log's last offset, None where the brokers are silent."""

    done: int = 10
    end: int | None = 16
    positioned: bool = True
    excused: bool = False
    partitions: tuple[TP, ...] = (ONE,)
    moving: tuple[TP, ...] = ()
    """Of the partitions, those that go on at each look."""
    held_up: tuple[TP, ...] = ()
    records: bool = True
    """Whether what lies between `done` and `end` are records."""


class SeenAllError(Exception):
    """The script is over, and nobody complained."""


class Script:
    """A consumer and the brokers, played from a list."""

    def __init__(self, looks: list[Look]) -> None:
        self._looks = looks
        self._at = 0

    @property
    def _now(self) -> Look:
        return self._looks[min(self._at, len(self._looks) - 1)]

    @property
    def positioned(self) -> bool:
        return self._now.positioned

    @property
    def excused(self) -> bool:
        return self._now.excused

    @property
    def held_up(self) -> Collection[TP]:
        return self._now.held_up

    def progress(self) -> Mapping[Any, int]:
        return {tp: self._now.done + (self._at if tp in self._now.moving else 0) for tp in self._now.partitions}

    async def of(self, partitions: list[Any]) -> Mapping[Any, int] | None:
        self._at += 1
        if self._at >= len(self._looks):
            raise SeenAllError
        end = self._now.end
        return None if end is None else dict.fromkeys(partitions, end)

    async def nothing_between(self, partition: TP, done: int, end: int) -> bool:
        return not self._now.records


async def play(looks: list[Look]) -> None:
    script = Script(looks)
    await watch(script, script, "test-watchdog", STALL_SECONDS, LOOK_SECONDS)


def lag(tp: TP) -> float | None:
    labels = {"service": "test-watchdog", "topic": tp.topic, "partition": str(tp.partition)}
    return REGISTRY.get_sample_value("flit_consumer_lag_records", labels)


async def test_standing_still_with_records_waiting_ends_the_process() -> None:
    with pytest.raises(Stalled, match="5 records waiting"):
        await play([Look()] * MANY_LOOKS)


async def test_one_partition_that_stands_still_beside_one_that_moves_ends_the_process() -> None:
    looks = [Look(partitions=(ONE, OTHER), moving=(OTHER,), end=1000)] * MANY_LOOKS
    with pytest.raises(Stalled, match=f"{ONE.topic}-{ONE.partition}: "):
        await play(looks)


async def test_never_getting_an_assignment_ends_the_process() -> None:
    with pytest.raises(Stalled, match="no assignment"):
        await play([Look(positioned=False, partitions=())] * MANY_LOOKS)


@pytest.mark.parametrize(
    "looks",
    [
        [Look(end=11)] * MANY_LOOKS,
        [Look(done=number, end=1000) for number in range(MANY_LOOKS)],
        [Look(excused=True)] * MANY_LOOKS,
        [Look(held_up=(ONE,))] * MANY_LOOKS,
        [Look(end=None)] * MANY_LOOKS,
        [Look(partitions=())] * MANY_LOOKS,
    ],
    ids=[
        "nothing waiting",
        "moving",
        "dependency away",
        "its own dependency away",
        "brokers silent",
        "no partition to spare",
    ],
)
async def test_who_works_or_has_nothing_to_do_is_left_alone(looks: list[Look]) -> None:
    with pytest.raises(SeenAllError):
        await play(looks)


async def test_lag_is_shown_for_our_partitions_and_no_others() -> None:
    with pytest.raises(SeenAllError):
        await play([Look(partitions=(ONE, OTHER))] * 3)
    assert (lag(ONE), lag(OTHER)) == (5, 5)
    with pytest.raises(SeenAllError):
        await play([Look(partitions=(ONE, OTHER)), Look(partitions=(ONE, OTHER)), *[Look(end=12)] * 3])
    assert (lag(ONE), lag(OTHER)) == (1, None)


async def test_what_is_no_record_is_nothing_that_waits() -> None:
    with pytest.raises(SeenAllError):
        await play([Look(records=False)] * MANY_LOOKS)
    assert lag(ONE) == 0
    with pytest.raises(Stalled, match="6 records waiting"):
        await play([*[Look(records=False)] * MANY_LOOKS, *[Look(end=17)] * MANY_LOOKS])


async def test_without_brokers_nothing_is_known_of_the_log() -> None:
    ends = LogEnds(KafkaSettings())
    assert await ends.of([]) == {}
