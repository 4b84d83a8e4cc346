"""The first missed payment as an early indicator: what the first one or two payments say of the final label.

It is never a label: 15 in a hundred defaults show at the first payment, and those are not like the others in every
world. It says early that something has changed, and how sure that is.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from services.trainer.maturity.known import PERIOD_US, Known
from services.trainer.maturity.vintages import by_plan
from shared.warehouse.views import DAYS_PER_INSTALMENT

PAYMENTS = (1, 2)
"""Looked at: 14 and 28 days after the purchase."""

RECENT_PERIODS = 2
"""How many periods of purchases the early rate of today is of."""


@dataclass(frozen=True)
class EarlyRate:
    """Of one plan, after one or two payments."""

    instalments: int
    age_days: int
    settled: int
    """Purchases with a final label, which the relation was measured on."""
    share_seen: float | None
    """Of their defaults, those that had shown by this age; None: none has defaulted."""
    default_rate_of_others: float
    """Of those that hadn't shown anything by then: what "nothing missed yet" is worth."""
    settled_rate: float
    """Of those purchases, the share that had missed a payment by this age."""
    recent: int
    """The latest purchases that have reached this age."""
    recent_rate: float | None
    """Of them, the share that has missed a payment by this age; None: there are none."""
    standard_errors: float | None
    """By how many the recent rate is above the settled one (a two-sample test of proportions)."""
    projected_rate: float | None
    """What the recent purchases' default rate comes to, if defaults show as early as they did."""


def early_rates(known: Known) -> list[EarlyRate]:
    """For each plan with settled purchases, and each of the first payments that isn't its last."""
    return [found for of_plan in by_plan(known) for found in _of_plan(of_plan)]


def _of_plan(known: Known) -> Iterator[EarlyRate]:
    plan = int(known.periods[0])
    settled = known.take(known.mature & ~known.silent)
    if not len(settled):
        return
    weight = settled.examples.weight
    for payment in (each for each in PAYMENTS if each < plan):
        early = settled.defaulted & (settled.missed_in <= payment)
        reached = known.take((known.watched >= payment) & ~known.silent)
        age = (known.as_of_us - reached.examples.occurred_us) // PERIOD_US
        recent = reached.take((age < payment + RECENT_PERIODS) & ~reached.mature)
        recent_weight = recent.examples.weight
        missed = recent.defaulted & (recent.missed_in <= payment)
        seen = _share(early[settled.defaulted], weight[settled.defaulted])
        settled_rate = _share(early, weight) or 0.0
        recent_rate = _share(missed, recent_weight)
        yield EarlyRate(
            instalments=plan,
            age_days=DAYS_PER_INSTALMENT * payment,
            settled=len(settled),
            share_seen=seen,
            default_rate_of_others=_share(settled.defaulted[~early], weight[~early]) or 0.0,
            settled_rate=settled_rate,
            recent=len(recent),
            recent_rate=recent_rate,
            standard_errors=None
            if recent_rate is None
            else _standard_errors(recent_rate, recent_weight, settled_rate, weight),
            projected_rate=None if recent_rate is None or not seen else min(recent_rate / seen, 1.0),
        )


def _share(which: np.ndarray, weight: np.ndarray) -> float | None:
    return float(weight[which].sum() / weight.sum()) if weight.sum() > 0 else None


def _standard_errors(recent: float, recent_weight: np.ndarray, settled: float, weight: np.ndarray) -> float:
    """How far apart two weighted proportions are, by their pooled standard error; 0 where neither varies."""
    pooled = (recent * recent_weight.sum() + settled * weight.sum()) / (recent_weight.sum() + weight.sum())
    spread = sum((each**2).sum() / each.sum() ** 2 for each in (recent_weight, weight))
    error = float(np.sqrt(pooled * (1 - pooled) * spread))
    return (recent - settled) / error if error > 0 else 0.0
