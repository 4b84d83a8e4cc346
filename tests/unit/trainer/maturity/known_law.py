"""Purchases whose law is known, default by default and day by day, for what is learnt before loans have run out.

The log-odds are linear in a rank and a share; when a default shows follows the simulator's own shares, whoever it is.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from services.simulator.law import FIRST_MISSED_DAYS
from services.trainer.examples import Examples
from services.trainer.maturity.known import PERIOD_US, Known, Outcomes, known_at
from shared.feature_definitions.windows import MICROS_PER_DAY
from shared.model_artifact.manifest import sigmoid
from tests.unit.trainer.synthetic import DAYS, START_US, synthetic_examples

LEVEL = -2.6


@dataclass(frozen=True)
class World:
    examples: Examples
    """Their labels are the final ones."""
    outcomes: Outcomes
    probability: NDArray[np.float64]
    """[n] what was tossed with."""

    def known(self, as_of_us: int) -> Known:
        return known_at(as_of_us, self.examples, self.outcomes)

    def between(self, first_day: float, last_day: float) -> NDArray[np.bool_]:
        day = (self.examples.occurred_us - START_US) / MICROS_PER_DAY
        return (first_day <= day) & (day < last_day)


def day(number: float) -> int:
    """The moment at which it begins."""
    return START_US + int(number * MICROS_PER_DAY)


def world(rows: int, days: int, seed: int, *, altered_from: float = np.inf) -> World:
    """`rows` purchases over so many days, half of them in four instalments and half in six. From a day on the odds of a
    default are twice as high, and another attribute tells them."""
    draws = np.random.default_rng(seed)
    drawn = synthetic_examples(rows, seed)
    occurred = START_US + (drawn.occurred_us - START_US) * days // DAYS
    rank, utilization = drawn.columns(("credit_rank", "utilization")).T.astype(np.float64)
    altered = occurred >= START_US + min(altered_from, 10 * days) * MICROS_PER_DAY
    share = np.nan_to_num(utilization, nan=0.2)
    score = LEVEL + np.where(altered, np.log(2) + 0.2 * (2 - rank) + 3.0 * share, 0.8 * (2 - rank) + 0.6 * share)
    probability = sigmoid(score)
    label = draws.random(rows) < probability
    plan = draws.choice([4, 6], rows)
    missed, when = np.full(rows, np.nan), draws.random(rows)
    for count, (at, shares) in FIRST_MISSED_DAYS.items():
        of_plan = label & (plan == count)
        missed[of_plan] = np.array(at)[np.searchsorted(np.cumsum(shares)[:-1], when[of_plan])]
    mature = occurred + plan * PERIOD_US
    return World(
        examples=replace(drawn, occurred_us=occurred, mature_us=mature, label=label.astype(np.int8)),
        outcomes=Outcomes(
            observed_us=np.where(label, occurred + np.nan_to_num(missed).astype(np.int64) * MICROS_PER_DAY, mature),
            defaulted=label,
            missed_days=missed,
        ),
        probability=probability,
    )
