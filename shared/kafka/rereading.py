"""A consumer whose partitions stand or go on each by itself when a batch can't be read.

A poll takes what was fetched, partition by partition, and moves the position of each. Where the batch of one is
damaged (its checksum is wrong: a broken disk), aiokafka raises, and drops what it has taken before, of the others and
of that one: their positions lie behind it, and nobody would ever see it. Here it is read again, up to the damage; from
there on the partition stands, and is tried again each second, while the others go on. Who watches over progress ends
the process in time.
"""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

import structlog
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.consumer.fetcher import FetchResult
from aiokafka.errors import CorruptRecordException, KafkaError

log = structlog.get_logger()

Polled = Mapping[TopicPartition, list[Any]]
Poll = Callable[[Collection[TopicPartition], float, int | None], Awaitable[Polled]]
"""(partitions, seconds to wait for records, how many at most) → records."""

Reached = Mapping[TopicPartition, tuple[Any, int]]
"""The client's own state of each partition, which an assignment makes anew, and the position in it."""

TRIED_AGAIN_S = 1.0
"""A damaged batch is fetched anew for it, which brings up to 4 MB."""

APPROACH_S = 0.05
"""How long a poll of the others may wait while there are records before the damage."""


@dataclass(slots=True)
class _Damage:
    """Of one partition."""

    state: Any
    """The client's own."""
    before: int
    """Records in front of it that aren't read yet, at most."""
    again_at: float = 0.0
    told: bool = False


class RereadingConsumer(AIOKafkaConsumer):  # type: ignore[misc]
    """As its base, but a poll that fails moves no position, and a batch that can't be read fails none."""

    def __init__(self, *arguments: Any, **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        self._sought: set[TopicPartition] = set()
        """Since positions were looked at last."""
        self._damaged: dict[TopicPartition, _Damage] = {}

    async def getmany(self, *partitions: TopicPartition, timeout_ms: int = 0, max_records: int | None = None) -> Polled:
        async def poll(asked: Collection[TopicPartition], timeout_s: float, most: int | None) -> Polled:
            polled = AIOKafkaConsumer.getmany(self, *asked, timeout_ms=round(1000 * timeout_s), max_records=most)
            return await polled  # type: ignore[no-any-return]

        return await self.each_by_itself(poll, partitions, timeout_ms / 1000, max_records)

    async def each_by_itself(
        self, poll: Poll, partitions: Collection[TopicPartition], timeout_s: float, max_records: int | None
    ) -> Polled:
        """What one poll gives, perhaps nothing before the time is over. Of what was polled and isn't given here every
        position is as before. Raises KafkaError, but CorruptRecordException only where nobody can tell whose it is."""
        if not self._damaged:
            return await self._polled(poll, partitions, timeout_s, max_records)
        states, wanted = self._states(), set(partitions) or set(self.assignment())
        self._damaged = {at: damage for at, damage in self._damaged.items() if states.get(at) is damage.state}
        for at, damage in list(self._damaged.items()):
            if at in wanted and damage.again_at <= time.monotonic():
                most = max(1, min(damage.before, max_records or damage.before))
                if records := await self._polled(poll, [at], 0.0, most):
                    damage.before -= len(records[at])
                    if damage.before < 0:
                        self._damaged.pop(at, None)
                        if damage.told:
                            log.info("batch_mended", topic=at.topic, partition=at.partition)
                    return records
        sound = wanted - self._damaged.keys()
        if any(damage.before for damage in self._damaged.values()):
            timeout_s = min(timeout_s, APPROACH_S)
        if sound:
            return await self._polled(poll, sound, timeout_s, max_records)
        await asyncio.sleep(timeout_s)  # asked for no partition, the client would give of all
        return {}

    async def _polled(
        self, poll: Poll, partitions: Collection[TopicPartition], timeout_s: float, max_records: int | None
    ) -> Polled:
        reached = self.reached()
        try:
            return await poll(partitions, timeout_s, max_records)
        except CorruptRecordException:
            found = self._find_damage(reached, partitions or reached)
            self.back_to(reached)
            if not found:
                raise
            return {}
        except KafkaError:
            self.back_to(reached)
            raise

    def _find_damage(self, reached: Reached, asked: Collection[TopicPartition]) -> bool:
        """Note whose batch a poll of `asked` has just failed on. The client doesn't say; but what it was going through
        of that partition has come to an end in the middle."""
        for at, result in self._fetcher._records.items():
            records = result._partition_records if type(result) is FetchResult else None
            if at in reached and at in asked and records is not None and _has_failed(records._records_iterator):
                self._note_damage(at, *reached[at], records.next_fetch_offset)
                return True
        return False

    def _note_damage(self, at: TopicPartition, state: Any, position: int, next_offset: int) -> None:
        damage = self._damaged.setdefault(at, _Damage(state, next_offset - position))
        # Where offsets are left out in front of it, there are fewer than that.
        damage.before = min(max(damage.before, 0) // 2 if damage.again_at else damage.before, next_offset - position)
        damage.again_at = time.monotonic() + (0.0 if damage.before else TRIED_AGAIN_S)
        if not damage.before and not damage.told:
            damage.told = True
            log.error("batch_damaged", topic=at.topic, partition=at.partition, offset=next_offset)

    def seek(self, partition: TopicPartition, offset: int) -> None:
        super().seek(partition, offset)
        self._sought.add(partition)
        self._damaged.pop(partition, None)

    def reached(self) -> Reached:
        """How far each partition was taken, for `back_to`. Those without a position aren't in it: the public `position`
        waits for one."""
        self._sought.clear()
        return {partition: (state, state.position) for partition, state in self._states().items()}

    def back_to(self, reached: Reached) -> None:
        """Read again from there whatever was polled since. Where somebody has sought another position meanwhile, or the
        partition was given anew, that position counts."""
        now = self._states()
        for partition, (state, position) in reached.items():
            same = partition in now and now[partition] is state and partition not in self._sought
            if same and state.position != position:
                super().seek(partition, position)

    def _states(self) -> dict[TopicPartition, Any]:
        subscription = self._subscription.subscription
        assignment = subscription.assignment if subscription is not None else None
        if assignment is None:
            return {}
        states = {partition: assignment.state_value(partition) for partition in assignment.tps}
        return {partition: state for partition, state in states.items() if state and state.has_valid_position}


def _has_failed(records: Any) -> bool:
    """A generator that was left by an exception: one that has given all is put away at once."""
    return inspect.isgenerator(records) and inspect.getgeneratorstate(records) == inspect.GEN_CLOSED
