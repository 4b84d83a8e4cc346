"""Vintages: purchases of one week or month and plan, and the share of them known to have defaulted at each age.

The share is Kaplan and Meier's (1958) over payment periods: in each period the purchases that were watched through it
count, so that the younger ones of a vintage bend nothing, and what nobody has reached yet is not known (null) rather
than good.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Literal

import numpy as np

from services.trainer.maturity.known import Known
from shared.contracts.identity import EPOCH
from shared.feature_definitions.windows import MICROS_PER_DAY
from shared.warehouse.views import DAYS_PER_INSTALMENT

Grain = Literal["week", "month"]


@dataclass(frozen=True)
class Point:
    age_days: int
    watched: int
    """Purchases that have paid all periods before this one and were watched to its end, or defaulted in it."""
    share: float
    """Known to have defaulted by this age, each purchase by its weight."""


@dataclass(frozen=True)
class Vintage:
    begins: str
    """The first day of the week (a Monday) or month; empty: of all of them."""
    instalments: int
    purchases: int
    defaulted: int
    repaid: int
    open: int
    """Not yet known."""
    silent: int
    """Past their last instalment, without an outcome."""
    points: tuple[Point, ...]
    """By age, as far as anybody has come."""

    @property
    def final(self) -> float | None:
        """The share at the end of the plan; None while nobody has come so far."""
        ended = self.points and self.points[-1].age_days == DAYS_PER_INSTALMENT * self.instalments
        return self.points[-1].share if ended else None


def vintages(known: Known, grain: Grain) -> list[Vintage]:
    """One for each start and plan in which something was bought, the oldest first."""
    starts = _starts(known, grain)
    found = []
    for begins in np.unique(starts):
        of_start = known.take(starts == begins)
        name = (EPOCH.date() + timedelta(days=int(begins))).isoformat()
        found += [_vintage(of_plan, name) for of_plan in by_plan(of_start)]
    return found


def whole(known: Known) -> list[Vintage]:
    """One for each plan, over all purchases."""
    return [_vintage(of_plan, "") for of_plan in by_plan(known)]


def by_plan(known: Known) -> Iterator[Known]:
    for plan in np.unique(known.periods):
        yield known.take(known.periods == plan)


def _vintage(known: Known, begins: str) -> Vintage:
    """Of purchases of one plan."""
    return Vintage(
        begins=begins,
        instalments=int(known.periods[0]),
        purchases=len(known),
        points=tuple(_points(known)),
        **known.counts(),
    )


def _points(known: Known) -> Iterator[Point]:
    paid, weight = 1.0, known.examples.weight
    lasts = np.where(known.defaulted, known.missed_in, known.watched)
    # A plan that ended without a word was watched by nobody: whether its payments came is not known.
    lasts = np.where(known.silent, 0, lasts)
    for period in range(1, int(known.periods[0]) + 1):
        watched = lasts >= period
        if not watched.any():
            return
        paid *= 1 - float(weight[known.missed_in == period].sum() / weight[watched].sum())
        yield Point(DAYS_PER_INSTALMENT * period, int(watched.sum()), 1 - paid)


def _starts(known: Known, grain: Grain) -> np.ndarray:
    """[n] the first day of each purchase's week or month, in days since 1970."""
    days = known.examples.occurred_us // MICROS_PER_DAY
    if grain == "week":
        return np.asarray(days - (days + EPOCH.weekday()) % 7)
    months = days.astype("datetime64[D]").astype("datetime64[M]")
    return np.asarray(months.astype("datetime64[D]").astype(np.int64))


def described(vintage: Vintage) -> dict[str, object]:
    """As JSON values."""
    return {
        "begins": vintage.begins, "instalments": vintage.instalments, "purchases": vintage.purchases,
        "defaulted": vintage.defaulted, "repaid": vintage.repaid, "open": vintage.open, "silent": vintage.silent,
        "final": vintage.final,
        "known": {str(point.age_days): round(point.share, 6) for point in vintage.points},
        "watched": {str(point.age_days): point.watched for point in vintage.points},
    }  # fmt: skip
