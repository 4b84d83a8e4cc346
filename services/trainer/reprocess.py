"""The history runner: features of the past in the running code's feature set.

It goes over two kinds of purchases: those that were decided (a model of new features learns from them before these are
in service), and those that were loaded in bulk, which nobody decided (history from before the system existed).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import astuple, dataclass
from datetime import datetime
from typing import Protocol

from shared.feature_definitions.replay import Features, LoggedOutcome, LoggedPurchase, replay

CHUNK_ROWS = 20_000

UNDECIDED = -(2**63)
"""In place of the outcome offset that a decision was made as of, where there is none: before every offset, so that
nothing is known yet. Such a purchase counts in its customer's state, and gets no features: no decision has any of it.
"""


class Log(Protocol):
    """What is asked of the warehouse (services.trainer.past.Past)."""

    def purchases(self, partition: int) -> Iterator[LoggedPurchase]: ...
    def outcomes(self, partition: int) -> list[LoggedOutcome]: ...
    def present(self, feature_set: str, partition: int) -> set[str]: ...
    def append(
        self, made: list[tuple[LoggedPurchase, Features]], feature_set: str, load_id: str, now: datetime
    ) -> None: ...


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a run is to make."""

    feature_set: str
    since_us: int
    until_us: int
    """Of purchases: from then on, and before that."""
    load_id: str
    """Names the rows of decided purchases; a loaded one's row keeps the name of its load."""


@dataclass
class Reprocessed:
    """Counts of purchases."""

    written: int = 0
    present: int = 0
    """Had features of this set by an earlier run."""
    inexact: int = 0
    """Left out: decided as of a moment that the log's order doesn't give again (see `replay`)."""

    @staticmethod
    def total(parts: Iterable[Reprocessed]) -> Reprocessed:
        return Reprocessed(*map(sum, zip(*map(astuple, parts), strict=True)))


def reprocess(log: Log, partition: int, wanted: Wanted, now: Callable[[], datetime]) -> Reprocessed:
    """Make features of every wanted purchase of a partition, as of what its decision was made as of.

    All of the past is gone through, for the customers' own begin before the range. A run that was interrupted is simply
    repeated: what is there isn't written again.
    """
    done = Reprocessed()
    present = log.present(wanted.feature_set, partition)
    made: list[tuple[LoggedPurchase, Features]] = []

    def write() -> None:
        log.append(made, wanted.feature_set, wanted.load_id, now())
        done.written += len(made)
        made.clear()

    for purchase, features in replay(log.purchases(partition), log.outcomes(partition)):
        if purchase.outcomes_seen == UNDECIDED:
            continue
        if not wanted.since_us <= purchase.accepted.occurred_us < wanted.until_us:
            continue
        if purchase.accepted.transaction.event_id in present:
            done.present += 1
        elif features is None:
            done.inexact += 1
        else:
            made.append((purchase, features))
            if len(made) == CHUNK_ROWS:
                write()
    if made:
        write()
    return done
