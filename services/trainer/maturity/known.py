"""What a lender knows of each purchase at a moment: payment periods watched, and in which of them a payment was missed.

A plan of n instalments has n periods of 14 days, by the standard terms; one of shorter terms as many, since good loans
are told by the standard terms, and one of longer terms as many as it takes to hold it. A period counts once the whole
of it lies before the moment: a default that shows in the middle of one is counted at its end, when the purchases that
paid can be told from it as well.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from services.trainer.examples import Examples
from services.trainer.maturity.watching import heard_of, watched_until
from shared.feature_definitions.windows import MICROS_PER_DAY
from shared.warehouse.views import DAYS_PER_INSTALMENT

PERIOD_US = DAYS_PER_INSTALMENT * MICROS_PER_DAY

NONE_YET = -1
"""In place of the time of an outcome that nobody has seen."""


@dataclass(frozen=True)
class Outcomes:
    """Parallel to n purchases: the latest outcome of each that was seen by some moment."""

    observed_us: NDArray[np.int64]
    """When it could be known; `NONE_YET` where there is none."""
    defaulted: NDArray[np.bool_]
    missed_days: NDArray[np.float64]
    """From the purchase to its first missed payment; NaN where none was missed or nobody says."""
    source: NDArray[np.object_] | None = None
    """Who tells of each; None: all are told of by the same."""


@dataclass(frozen=True)
class Known:
    """Parallel columns of n purchases, as of one moment."""

    as_of_us: int
    examples: Examples
    """Their label is 1 where a default is known, and else says nothing: see `repaid`."""
    periods: NDArray[np.int64]
    """Of the plan."""
    watched: NDArray[np.int64]
    """Whole periods that lie before the moment, at most `periods`."""
    missed_in: NDArray[np.int64]
    """The watched period, from 1 on, in which a payment was first missed; 0: in none."""
    repaid: NDArray[np.bool_]
    """The plan has run its course, and its outcome says that it was paid."""

    def __len__(self) -> int:
        return len(self.watched)

    def take(self, which: NDArray[Any]) -> Known:
        """The rows of an index or mask."""
        return replace(
            self,
            examples=self.examples.take(which),
            periods=self.periods[which],
            watched=self.watched[which],
            missed_in=self.missed_in[which],
            repaid=self.repaid[which],
        )

    @property
    def defaulted(self) -> NDArray[np.bool_]:
        return np.asarray(self.missed_in > 0)

    @property
    def mature(self) -> NDArray[np.bool_]:
        return np.asarray(self.watched == self.periods)

    @property
    def open(self) -> NDArray[np.bool_]:
        """The plan still runs, and nothing has been missed so far: neither good nor bad."""
        return ~self.mature & ~self.defaulted

    @property
    def silent(self) -> NDArray[np.bool_]:
        """The plan has run its course, and no outcome came, or hardly any of its day: neither good nor bad either."""
        return self.mature & ~self.defaulted & ~self.repaid

    def settled(self) -> Examples:
        """What a matured-window training learns from: mature, with an outcome."""
        return self.examples.take(self.mature & ~self.silent)

    def counts(self) -> dict[str, int]:
        """Purchases by what is known of them."""
        by_status = {
            "defaulted": self.defaulted, "repaid": self.repaid & ~self.defaulted, "open": self.open,
            "silent": self.silent,
        }  # fmt: skip
        return {status: int(rows.sum()) for status, rows in by_status.items()}


def known_at(as_of_us: int, examples: Examples, outcomes: Outcomes) -> Known:
    """What was known then: outcomes observed later don't count, nor purchases made later (they are left out).

    Nobody is watched beyond the last outcome that was seen, of his source where that has told of more than a few:
    where outcomes stop coming in, purchases stop growing older rather than turn out well. Of a day of which a source
    has not told, nothing is known: neither of the loans without an outcome nor of those that defaulted before it.
    """
    made = examples.occurred_us <= as_of_us
    examples = examples.take(made)
    observed, missed_days = outcomes.observed_us[made], outcomes.missed_days[made]
    seen = (observed != NONE_YET) & (observed <= as_of_us)
    last_us = int(observed[seen].max(initial=0))
    until_us: int | NDArray[np.int64] = last_us
    source = np.full(len(examples), "") if outcomes.source is None else outcomes.source[made]
    if outcomes.source is not None:
        until_us = watched_until(observed, seen, source, last_us)
    periods = -((examples.occurred_us - examples.mature_us) // PERIOD_US)  # rounded up
    watched = np.clip((until_us - examples.occurred_us) // PERIOD_US, 0, periods)
    mature = watched == periods
    heard = ~mature | heard_of(examples.mature_us, mature, seen, source)
    # Where a producer doesn't say after how many days, then no later than it was seen.
    days = np.where(np.isnan(missed_days), (observed - examples.occurred_us) / MICROS_PER_DAY, missed_days)
    period = np.clip(np.ceil(np.where(seen, days, 0) / DAYS_PER_INSTALMENT).astype(np.int64), 1, periods)
    bad = seen & outcomes.defaulted[made]
    missed_in = np.where(bad & (period <= watched) & heard, period, 0)
    return Known(
        as_of_us=as_of_us,
        examples=replace(examples, label=(missed_in > 0).astype(np.int8)),
        periods=periods,
        watched=watched,
        missed_in=missed_in,
        repaid=seen & ~bad & mature & heard,
    )
