"""How far transactions may be written: up to where the features service has judged them.

Another body under a known event id is refused, and only the features service, which holds the customer's state, can
tell; and by which limits it judged a record, only it knows. A row can't be taken back, so the sink waits for the
verdict.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import structlog

from services.sink.refused import NOBODY, LettersUnreadable, Refused
from shared.contracts.log import KafkaRecord
from shared.feature_state import Position
from shared.kafka.errors import TransientError

log = structlog.get_logger()


class RefusalIndex(Protocol):
    """What the features service tells of its work (`shared.feature_state.FeatureStateStore`)."""

    async def position(self, partition: int) -> Position: ...
    async def refused_between(self, partition: int, low: int, high: int) -> set[int]: ...
    async def remembers_refusals(self, partition: int, low: int) -> bool: ...


class RefusalLetters(Protocol):
    """What their letters tell (`services.sink.letters.LetterReader`)."""

    async def between(self, partition: int, low: int, high: int) -> Refused: ...


class Gate:
    """Of one partition of bnpl-transactions."""

    def __init__(self, index: RefusalIndex, partition: int, letters: RefusalLetters | None = None) -> None:
        """`letters`: asked where the index doesn't know. None: nobody is."""
        self._index = index
        self._partition = partition
        self._letters = letters

    async def judged_up_to(self) -> int:
        """The last offset that was judged; -1: none. Raises TransientError."""
        return (await self._index.position(self._partition)).transactions

    async def noted(self, low: int, high: int) -> frozenset[int]:
        """Offsets in [low, high] that were refused by what the record alone doesn't tell; all of them must have been
        judged.

        Raises TransientError, also where the states were lost between the two questions: the answer would be empty.
        """
        refused = frozenset(await self._index.refused_between(self._partition, low, high))
        await self._still_judged(high)
        return refused

    async def refused(self, records: Sequence[KafkaRecord]) -> frozenset[int]:
        """As `noted`, of consecutive records, and by letters where the index has forgotten some."""
        low, high = records[0].offset, records[-1].offset
        refused = frozenset(await self._index.refused_between(self._partition, low, high))
        # In this order: what is forgotten between the two questions counts as forgotten before.
        if self._letters is not None and not await self._index.remembers_refusals(self._partition, low):
            refused |= await self.by_letters(records)
        await self._still_judged(high)
        return refused

    async def refused_before(self, low: int) -> Refused:
        """Who from `low` on has a letter, of what was judged until now: whatever it was refused for, and by whichever
        limits there were then. Raises TransientError."""
        judged = await self.judged_up_to()
        if self._letters is None or judged < low:
            return NOBODY
        try:
            return await self._letters.between(self._partition, low, judged)
        except LettersUnreadable as error:
            # The index knows most of them; another topic's trouble must not hold up this one.
            log.error("letters_unreadable", partition=self._partition, error=str(error)[:200])
            return NOBODY

    @property
    def has_letters(self) -> bool:
        return self._letters is not None

    async def by_letters(self, records: Sequence[KafkaRecord]) -> frozenset[int]:
        """Offsets of those of consecutive, judged records that have letters. Raises TransientError."""
        assert self._letters is not None
        found = await self._letters.between(self._partition, records[0].offset, records[-1].offset)
        return found.among(records)

    async def _still_judged(self, high: int) -> None:
        if await self.judged_up_to() < high:
            raise TransientError(f"the features' position of partition {self._partition} went back")
