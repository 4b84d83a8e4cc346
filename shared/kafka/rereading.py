"""A consumer that loses nothing of what it had ready when a batch can't be read.

A poll takes what was fetched, partition by partition, and moves the position of each. Where the batch of one is
damaged (its checksum is wrong: a broken disk), aiokafka raises, and drops what it has taken of the others before: their
positions lie behind it, and nobody would ever see it.
"""

from __future__ import annotations

from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError


class RereadingConsumer(AIOKafkaConsumer):  # type: ignore[misc]
    """As its base; what a failed poll has taken is read again."""

    async def getmany(self, *partitions: TopicPartition, **how: Any) -> Any:
        before = self._positions()
        try:
            return await super().getmany(*partitions, **how)
        except KafkaError:
            after = self._positions()
            for partition, position in before.items():
                if partition in after and after[partition] != position:
                    self.seek(partition, position)
            raise

    def _positions(self) -> dict[TopicPartition, int]:
        """Of those that have one. The public `position` waits for it."""
        subscription = self._subscription.subscription
        assignment = subscription.assignment if subscription is not None else None
        if assignment is None:
            return {}
        states = {partition: assignment.state_value(partition) for partition in assignment.tps}
        return {partition: state.position for partition, state in states.items() if state and state.has_valid_position}
