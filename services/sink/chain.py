"""The hash chain of decisions: each row's link covers the one before it, by partition, in the order of offsets. Pure.

    before the first    SHA-256 of "<topic>:<partition>"
    each row's          SHA-256 of "<link before>:<offset>:<record_sha256>"

Hashes in lower-case hex, so that whoever has the table alone can follow the chain in SQL (docs/operations/evidence.md).
A record without a row has no link: its offset is left out. What an erasure empties isn't hashed, but what it stood for.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from shared.warehouse.columns import Row
from shared.warehouse.tables import CHAIN


@dataclass(frozen=True, slots=True)
class Link:
    """A row of the chain as it stands in the table."""

    offset: int
    record_sha256: str
    chain_sha256: str


def beginning(topic: str, partition: int) -> str:
    """What stands before the first link of a partition."""
    return _sha256(f"{topic}:{partition}")


def link(before: str, offset: int, record_sha256: str) -> str:
    return _sha256(f"{before}:{offset}:{record_sha256}")


def chained(rows: Sequence[Row], before: str) -> list[Row]:
    """Consecutive rows of a partition with their links. `before`: the link of the row before them."""
    linked: list[Row] = []
    for row in rows:
        before = link(before, row["kafka_offset"], row["record_sha256"])
        linked.append(row | {CHAIN.name: before})
    return linked


def restored(rows: Sequence[Row], present: Sequence[Link], before: str) -> list[Row]:
    """Rows that are written later than their neighbours, with the links that they had.

    Where the next row follows without them they never were in the chain (another release refused their records), and
    have no link now: what was linked already isn't linked anew. `present`: the chain's other rows, from the one before
    the first of `rows` to the one after the last; `before`: what stands before all of these.
    """
    written: list[Row] = []
    run: list[Row] = []
    waiting = iter(sorted(rows, key=lambda row: row["kafka_offset"]))
    following = next(waiting, None)
    for neighbour in sorted(present, key=lambda each: each.offset):
        while following is not None and following["kafka_offset"] < neighbour.offset:
            run.append(following)
            following = next(waiting, None)
        written += _settled(run, before, neighbour)
        before, run = neighbour.chain_sha256, []
    return written + _settled([*run, *_rest(following, waiting)], before, None)


def _rest(first: Row | None, others: Iterator[Row]) -> list[Row]:
    return [] if first is None else [first, *others]


def _settled(run: Sequence[Row], before: str, after: Link | None) -> list[Row]:
    linked = chained(run, before)
    if not run or after is None:
        return linked
    passed_over = link(before, after.offset, after.record_sha256) == after.chain_sha256
    return [row | {CHAIN.name: None} for row in run] if passed_over else linked


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
