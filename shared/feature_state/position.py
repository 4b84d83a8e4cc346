"""Where a partition's states stand, and how they move on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

_LOADING = -2


@dataclass(frozen=True, slots=True)
class Position:
    """Offsets up to and including which records are in the states; -1: none."""

    transactions: int = -1
    outcomes: int = -1

    def __str__(self) -> str:
        return f"{self.transactions},{self.outcomes}"

    def or_later(self, other: Position) -> Position:
        """Up to where one of both has come, in each topic."""
        return Position(max(self.transactions, other.transactions), max(self.outcomes, other.outcomes))

    def is_behind(self, other: Position) -> bool:
        """Whether this one is an earlier moment of the same states."""
        return self != other and self.or_later(other) == other

    @staticmethod
    def before_the_log(chunks: int) -> Position:
        """While what was loaded in bulk is taken in, which lies before the log: after so many chunks of it."""
        return Position(_LOADING, -1 - chunks)

    @property
    def is_before_the_log(self) -> bool:
        return self.transactions == _LOADING

    @staticmethod
    def parse(value: bytes | str | None) -> Position:
        if value is None:
            return Position()
        text = value if isinstance(value, str) else value.decode()
        transactions, _, outcomes = text.partition(",")
        return Position(int(transactions), int(outcomes))


EMPTY = Position()


@dataclass(frozen=True, slots=True)
class Standing:
    """How it is with a partition."""

    position: Position | None
    """None: lost, or never written."""
    target: Position | None
    """While it is being rebuilt: the position that it had before."""

    @property
    def whole(self) -> bool:
        """Whether the states are up to date as far as anybody knows."""
        return self.position is not None and self.target is None


@dataclass(frozen=True, slots=True)
class Move:
    """A partition moved on, with all that goes with it."""

    partition: int
    expected: Position
    """Where it has to be before."""
    new: Position
    states: Mapping[str, bytes] = field(default_factory=dict)
    """Customer → state."""
    refused: Sequence[int] = ()
    """Offsets of transactions refused because of state."""
