"""What models were worth by day, week and four weeks of the purchase: as realized on matured outcomes, and as expected
from their probabilities. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from services.trainer.calibration import slope_and_intercept
from services.trainer.evaluate import Economics, auc, brier, ece, ks, log_losses, profit_bp, weighted_mean
from services.trainer.monitoring.expected import (
    Expected,
    expected_auc,
    expected_brier,
    expected_default_rate,
    expected_log_loss,
    expected_profit_bp,
)
from services.trainer.monitoring.lent import Lent
from services.trainer.monitoring.recalibration import AS_SERVED, NOTHING_KNOWN, Recalibrations
from shared.model_artifact.manifest import Calibration

MONDAY = 4
"""Day since 1970 of the first Monday."""

PERIODS: dict[str, int] = {"day": 1, "week": 7, "four weeks": 28}

MIN_DEFAULTS = 5
"""Of a period, and as many good loans: with fewer, none of its figures says anything."""


@dataclass(frozen=True)
class Realized:
    """On matured outcomes of what was lent, weighted."""

    rows: int
    defaults: int
    auc: float
    ks: float
    log_loss: float
    """Nats."""
    brier: float
    ece: float
    calibration_slope: float
    """Of outcomes on the log-odds that were said: below 1 the model was too sure of itself."""
    calibration_intercept: float
    default_rate: float
    profit_bp: float
    """Of approving below break-even, in basis points of the volume."""


@dataclass(frozen=True)
class Estimate:
    """What the probabilities alone say of some purchases (expected.py), as far as they are believed."""

    rows: int
    auc: Expected
    log_loss: Expected
    brier: Expected
    default_rate: Expected
    profit_bp: Expected


@dataclass(frozen=True)
class Period:
    """One model over some days."""

    kind: str
    """A key of `PERIODS`."""
    model_version: str
    first_day: int
    end_day: int
    """Not included. Days since 1970."""
    realized: Realized | None
    """None: too little has matured."""
    on_matured: Estimate | None
    """Of the very purchases that `realized` stands on: what may be held beside it."""
    estimate: Estimate
    """Of all that was lent, matured or not."""
    believed: Calibration
    """Of the probabilities as served: what both estimates stand on (recalibration.py)."""
    matured_share: float
    """Of the loans that are waited for (lent.py): a few of longer plans would keep it from 1 for a year."""

    @property
    def error(self) -> float | None:
        """Realized AUC less the estimated one, of the same purchases."""
        if self.realized is None or self.on_matured is None:
            return None
        return self.realized.auc - self.on_matured.auc.value


def periods(
    lent: Lent, economics: Economics, since_day: int, until_day: int, recalibrations: Recalibrations = NOTHING_KNOWN
) -> Iterator[Period]:
    """Every period that begins in [since, until) and has anything in it, by model. Weeks begin on Monday; four weeks
    too, always the same ones. `lent`: all of these days; of a period that began earlier some may be lacking."""
    for version in sorted(set(lent.model_version.tolist())):
        mine = lent.of(version)
        for kind, days in PERIODS.items():
            for day in range(since_day + (MONDAY - since_day) % days, until_day, days):
                some = mine.between(day, min(day + days, until_day))
                if len(some):
                    believed = recalibrations.known(version, min(day + days, until_day))
                    yield _period(kind, version, day, day + days, some, economics, believed)


def _period(
    kind: str, version: str, first_day: int, end_day: int, some: Lent, economics: Economics, believed: Calibration
) -> Period:
    known = some.matured
    return Period(
        kind,
        version,
        first_day,
        end_day,
        realized(known, economics),
        estimate(known, economics, believed) if len(known) else None,
        estimate(some, economics, believed),
        believed,
        _share_matured(some),
    )


def _share_matured(some: Lent) -> float:
    awaited = some.awaited if len(some.awaited) else some
    return len(awaited.matured) / len(awaited)


def realized(known: Lent, economics: Economics) -> Realized | None:
    """None where there are too few of either outcome."""
    label = known.defaulted.astype(np.int8)
    defaults = int(label.sum())
    if min(defaults, len(label) - defaults) < MIN_DEFAULTS:
        return None
    said, weight = known.probability, known.weight
    slope, intercept = slope_and_intercept(said, label, weight)
    return Realized(
        rows=len(known),
        defaults=defaults,
        auc=auc(label, said, weight),
        ks=ks(label, said, weight),
        log_loss=weighted_mean(log_losses(label, said), weight),
        brier=brier(label, said, weight),
        ece=ece(label, said, weight),
        calibration_slope=slope,
        calibration_intercept=intercept,
        default_rate=weighted_mean(label, weight),
        profit_bp=profit_bp(label, known.amount * weight, said < economics.break_even, economics),
    )


def estimate(some: Lent, economics: Economics, believed: Calibration = AS_SERVED) -> Estimate:
    """`believed`: of the probabilities as they were served."""
    said, weight = some.probability, some.weight
    likely = said if believed == AS_SERVED else believed.apply(said)
    return Estimate(
        len(some),
        expected_auc(likely, weight),
        expected_log_loss(said, likely, weight),
        expected_brier(said, likely, weight),
        expected_default_rate(likely, weight),
        expected_profit_bp(said, likely, some.amount, weight, economics),
    )
