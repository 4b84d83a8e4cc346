"""The past in the running code's feature set: what a model of new features learns from before they are in service."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from shared.feature_definitions.replay import Features, LoggedOutcome, LoggedPurchase, replay

CHUNK_ROWS = 20_000


class Log(Protocol):
    """What is asked of the warehouse (services.trainer.past.Past)."""

    def partitions(self) -> list[int]: ...
    def purchases(self, partition: int) -> Iterator[LoggedPurchase]: ...
    def outcomes(self, partition: int) -> list[LoggedOutcome]: ...
    def present(self, feature_set: str) -> set[str]: ...
    def append(
        self, made: list[tuple[LoggedPurchase, Features]], feature_set: str, load_id: str, now: datetime
    ) -> None: ...


@dataclass
class Reprocessed:
    """Counts of purchases."""

    written: int = 0
    present: int = 0
    """Had features of this set by an earlier run."""
    inexact: int = 0
    """Left out: decided as of a moment that the log's order doesn't give again (see `replay`)."""


def reprocess(
    log: Log,
    feature_set: str,
    since_us: int,
    until_us: int,
    *,
    load_id: str,
    now: Callable[[], datetime],
    step: Callable[[str], None],
) -> Reprocessed:
    """Make features of every decided purchase in [since, until), as of what its decision was made as of.

    All of the log before `until` is gone through, for the customers' pasts begin before `since`. A run that was
    interrupted is simply repeated: what is there isn't written again.
    """
    done = Reprocessed()
    present = log.present(feature_set)
    for partition in log.partitions():
        made: list[tuple[LoggedPurchase, Features]] = []
        for purchase, features in replay(log.purchases(partition), log.outcomes(partition)):
            if not since_us <= purchase.accepted.occurred_us < until_us:
                continue
            if purchase.accepted.transaction.event_id in present:
                done.present += 1
            elif features is None:
                done.inexact += 1
            else:
                made.append((purchase, features))
                if len(made) == CHUNK_ROWS:
                    log.append(made, feature_set, load_id, now())
                    done.written += len(made)
                    made = []
        if made:
            log.append(made, feature_set, load_id, now())
            done.written += len(made)
        step(f"partition {partition}")
    return done
