"""A consumer that loses nothing of what it had ready when a batch can't be read.

A poll takes what was fetched, partition by partition, and moves the position of each. Where the batch of one is
damaged (its checksum is wrong: a broken disk), aiokafka raises, and drops what it has taken of the others before: their
positions lie behind it, and nobody would ever see it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

Reached = Mapping[TopicPartition, tuple[Any, int]]
"""The client's own state of each partition, which an assignment makes anew, and the position in it."""


class RereadingConsumer(AIOKafkaConsumer):  # type: ignore[misc]
    """As its base; what a failed poll has taken is read again."""

    def __init__(self, *arguments: Any, **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        self._sought: set[TopicPartition] = set()
        """Since positions were looked at last."""

    async def getmany(self, *partitions: TopicPartition, **how: Any) -> Any:
        reached = self.reached()
        try:
            return await super().getmany(*partitions, **how)
        except KafkaError:
            self.back_to(reached)
            raise

    def seek(self, partition: TopicPartition, offset: int) -> None:
        super().seek(partition, offset)
        self._sought.add(partition)

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
