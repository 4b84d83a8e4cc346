"""What rows the records of the log should have, for whoever compares: by what was said of them when they were judged.

A record that has a letter was refused, and has no row. Of those that the features service has judged, one without a
letter was accepted, whatever today's limits say of it. What nobody has judged yet, and what letters were lost of, is
judged by today's rules and the refusals that Redis remembers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from aiokafka import TopicPartition

from services.sink.gate import Gate, RefusalIndex
from services.sink.letters import Letters
from services.sink.pipeline import Rules, build, lies_wrong
from shared.contracts import topics
from shared.contracts.log import StampedRecord
from shared.warehouse.columns import Row, Table


@dataclass(frozen=True, slots=True)
class Judged:
    """Consecutive records of one partition."""

    rows: Mapping[Table, list[Row]]
    """In the order of their offsets. Each table of the topic is named, perhaps with none."""
    refused: int
    optional: frozenset[int]
    """Offsets of those rows of which nobody can tell whether they should be there: if they are, they stay."""


@dataclass(frozen=True, slots=True)
class Verdicts:
    rules: Rules
    """Of today."""
    index: RefusalIndex
    letters: Letters = field(default_factory=Letters)

    async def on(self, at: TopicPartition, records: Sequence[StampedRecord], low: int, high: int) -> Judged:
        """`records`: those of the partition with offsets in [low, high). Raises TransientError."""
        settled = self.letters.settled_below(at)
        by_state = await refusals_between(self.index, at, max(low, settled) if self.letters.complete else low, high)
        refused = self.letters.of(at).among(records) | by_state
        built = build(at.topic, records, self.rules, refused)
        has_row = {row["kafka_offset"] for rows in built.rows.values() for row in rows}
        doubted = [r for r in records if r.offset < settled and r.offset not in refused and r.offset not in has_row]
        if not doubted:
            return Judged(built.rows, sum(built.refused.values()), frozenset())
        built = build(at.topic, records, self.rules, refused, frozenset(r.offset for r in doubted))
        # Where it lies wrong its letter, if it has one, is that of its copy, which may not have been judged yet.
        optional = frozenset(r.offset for r in doubted if not self.letters.complete or lies_wrong(r, self.rules))
        return Judged(built.rows, sum(built.refused.values()), optional)


async def refusals_between(index: RefusalIndex, at: TopicPartition, low: int, high: int) -> frozenset[int]:
    """Offsets in [low, high) that were refused because of state or a limit, as far as Redis remembers. Raises
    TransientError, also where the states are being rebuilt: who was refused isn't known then, and a row of such a
    record could not be taken back."""
    if at.topic != topics.TRANSACTIONS.name or low >= high:
        return frozenset()
    return await Gate(index, at.partition).noted(low, high - 1)
