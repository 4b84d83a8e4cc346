"""A log in memory, as a consumer sees it."""

from __future__ import annotations

from collections.abc import Collection

from aiokafka import TopicPartition


class OnePartition:
    """Of which all is committed; what it gives is left to whoever makes one."""

    def __init__(self, end: int) -> None:
        self.first, self.end = 0, end
        self.at = 0

    def assign(self, places: Collection[TopicPartition]) -> None:
        """There is but one."""

    def seek(self, at: TopicPartition, offset: int) -> None:
        self.at = offset

    async def beginning_offsets(self, places: Collection[TopicPartition]) -> dict[TopicPartition, int]:
        return dict.fromkeys(places, self.first)

    async def end_offsets(self, places: Collection[TopicPartition]) -> dict[TopicPartition, int]:
        return dict.fromkeys(places, self.end)

    async def committed(self, at: TopicPartition) -> int:
        return self.end

    async def position(self, at: TopicPartition) -> int:
        return self.at
