"""Whether a model in service has lost what it promised: on matured outcomes, beyond noise, at any time. Pure.

What is promised are the model's own probabilities on the very purchases that it decided, not the card's figures: the
card was measured on other purchases, and among those that a model approves its AUC is lower though it is as good as
ever (docs/explanation/selective-labels.md). The card's own noise is allowed for.

Two ways to lose:

* **calibration**: more or fewer default than was said, by more than `LEVEL_MARGIN` in log-odds and twice the error with
  which the model learnt the level. The evidence is a mixture
  of sequential likelihood ratios (experiments/evidence.py), and may be looked at at any time. One that began with the
  model's service would forget slowly what was good for months, so one begins with each week (as the e-detectors of
  Shin, Ramdas and Rinaldo, 2022), each with its own allowance of false alarms.
* **ranking**: the realized AUC of four or eight weeks whose outcomes have all matured lies below the expected one by
  more than `AUC_MARGIN` and chance. Loans of plans that nobody waits for (lent.py) are on neither side. Windows end
  with a week, so there is one test of each a week, however often somebody looks.

All in all noise raises less than `FALSE_ALARMS_PER_WEEK` * 52 alarms a year, one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from math import log
from statistics import NormalDist

import numpy as np

from services.trainer.evaluate import Economics
from services.trainer.experiments.evidence import of_miscalibration
from services.trainer.monitoring.lent import LONGEST_PLAN_DAYS, Lent
from services.trainer.monitoring.performance import MONDAY, estimate, realized
from shared.feature_definitions.windows import MICROS_PER_DAY

FALSE_ALARMS_PER_WEEK = 1 / 52

LEVEL_MARGIN = 0.05
"""Log-odds: 5% more or fewer defaults than said, which nobody would retrain for."""

ERRORS_ALLOWED = 2.0
"""Of the level: a model that was calibrated on few defaults is off from the start, and that is no loss."""

AUC_MARGIN = 0.01
"""Of AUC: what nobody would retrain for."""

WEEKS = (4, 8)
"""Windows of the ranking test: a steep loss is seen in the shorter one, a slow one in the longer."""

MIN_DEFAULTS = 30
"""Of a window of the ranking test: below it the AUC's error is not yet normal."""


@dataclass(frozen=True)
class Promise:
    """How well a model's card could know what it says."""

    auc_error: float
    """Standard error of its AUC."""
    level_error: float
    """Standard error of its level, in log-odds: 1 / sqrt(defaults)."""

    @staticmethod
    def of(metrics: Mapping[str, float]) -> Promise:
        """From the figures of a manifest: the interval holds 95%, and was calibrated on about as many defaults."""
        auc_error = (metrics["auc_high"] - metrics["auc_low"]) / (2 * NormalDist().inv_cdf(0.975))
        return Promise(auc_error, max(metrics["defaults"], 1.0) ** -0.5)

    @property
    def tolerance(self) -> float:
        """Of the level, in log-odds."""
        return LEVEL_MARGIN + ERRORS_ALLOWED * self.level_error


CALIBRATION, RANKING = "calibration", "ranking"

_TESTS = 2 + len(WEEKS)
"""Of a week: more defaults, fewer, and each window's ranking. They share its false alarms."""


@dataclass(frozen=True)
class Loss:
    """One test of one span of purchases."""

    kind: str
    first_day: int
    end_day: int
    """Not included. Days since 1970."""
    rows: int
    evidence: float
    """Natural logarithm for calibration; standard errors for ranking."""
    needed: float
    what: str
    """The figures, for people."""

    @property
    def alarm(self) -> bool:
        return self.evidence >= self.needed

    def __str__(self) -> str:
        return f"{self.kind}: {self.what}"


def losses(mine: Lent, promise: Promise, until_day: int) -> list[Loss]:
    """`mine`: what one model decided, matured or not."""
    if len(mine) == 0:
        return []
    first = int(mine.occurred_us.min()) // MICROS_PER_DAY
    first_week = first - (first - MONDAY) % 7
    return [
        *_calibration(mine.matured, promise.tolerance, first_week, until_day),
        *_ranking(mine.awaited, promise.auc_error, first_week, until_day),
    ]


def untested(mine: Lent, found: Iterable[Loss]) -> str | None:
    """Why the ranking of none of these loans was tested, in words; None where it was, or where there are none."""
    if len(mine) == 0 or any(each.kind == RANKING for each in found):
        return None
    awaited = mine.awaited
    return (
        f"of {len(mine)} loans {len(awaited)} are of plans of at most {LONGEST_PLAN_DAYS} days, with "
        f"{awaited.matured.defaulted.sum():.0f} known defaults; it takes {min(WEEKS)} whole weeks that have matured, "
        f"with {MIN_DEFAULTS}"
    )


def _calibration(known: Lent, tolerance: float, first_week: int, until_day: int) -> Iterator[Loss]:
    """Of what was decided from each week on."""
    needed = -log(FALSE_ALARMS_PER_WEEK / _TESTS)
    for start in range(first_week, until_day, 7):
        some = known.between(start, until_day)
        if len(some) == 0:
            continue
        # Outcomes are tosses, so each row counts once, whatever it stands for.
        more, fewer = of_miscalibration(some.probability, some.defaulted == 1, tolerance)
        what = f"{some.defaulted.sum():.0f} defaults of {len(some)}, {some.probability.sum():.1f} expected"
        yield Loss(CALIBRATION, start, until_day, len(some), max(more, fewer), needed, what)


def _ranking(mine: Lent, promised_error: float, first_week: int, until_day: int) -> Iterator[Loss]:
    needed = NormalDist().inv_cdf(1 - FALSE_ALARMS_PER_WEEK / _TESTS)
    end = _matured_until(mine, first_week, until_day)
    for weeks in WEEKS:
        start = end - 7 * weeks
        some = mine.between(start, end)
        if start < first_week or some.defaulted.sum() < MIN_DEFAULTS:
            continue
        economics = Economics()  # no figure of the two depends on it
        found, said = realized(some, economics), estimate(some, economics).auc
        if found is None:
            continue
        below = said.value - found.auc - AUC_MARGIN
        evidence = below / float(np.hypot(said.error, promised_error))
        what = f"AUC {found.auc:.3f} over {weeks} weeks, {said.value:.3f} expected"
        yield Loss(RANKING, start, end, len(some), evidence, needed, what)


def _matured_until(mine: Lent, first_week: int, until_day: int) -> int:
    """End of the last week before which everything has matured."""
    unknown = mine.occurred_us[np.isnan(mine.defaulted)]
    end = min(until_day, int(unknown.min()) // MICROS_PER_DAY) if len(unknown) else until_day
    return first_week + (end - first_week) // 7 * 7
