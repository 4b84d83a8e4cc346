"""A discrete-time hazard model: how likely a payment is first missed in each period, given that none was before.

One logistic regression over a row for each purchase and watched period (Shumway, 2001; Singer and Willett, 1993):

    logit h(k | x, n, v) = a(n, k) + x · b + l(v)

with n instalments, period k of them, inputs x and the fortnight v of the purchase. Young purchases take part for as
long as they were watched, which is just what is known of them. l(v) is a random walk over the fortnights: where the
level of defaults moves, the purchases of that time say so with their first payments, long before they mature.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from services.trainer.examples import TrainingRefused
from services.trainer.families.linear import Logistic
from services.trainer.families.outliers import cut, limits_of
from services.trainer.families.signed import Floats, minimum, sign_bounds
from services.trainer.maturity.known import PERIOD_US, Known
from shared.model_artifact.manifest import sigmoid

STEP = 0.2
"""Log-odds by which the level is expected to move from one fortnight to the next (standard deviation): a fifth more or
fewer defaults. Wider follows noise where few defaults are known; narrower takes months to follow a change."""

PERIOD_SPREAD = 3.0
"""Log-odds by which periods are expected to differ: all but free, so that a period of few events isn't sent to minus
infinity."""

LEAST_WATCHED = 100
"""Purchases that were watched through a period of a plan, for anything to be said of it."""


@dataclass(frozen=True)
class Hazard:
    names: tuple[str, ...]
    limits: Floats
    """[F] beyond which a value, either way, is no value but a fault."""
    centre: Floats
    """[F] medians, in place of what is missing."""
    mean: Floats
    scale: Floats
    coefficients: Floats
    """[F], of standardised inputs."""
    periods: dict[tuple[int, int], float]
    """(instalments, period) → log-odds of a first missed payment, at the mean of the inputs and the oldest level."""
    levels: Floats
    """[fortnights], by age: the youngest first; added to the log-odds."""

    def covers(self, known: Known) -> NDArray[np.bool_]:
        """Whether every period that is still to come has been seen in others of the same plan."""
        plans = {n: all((n, k) in self.periods for k in range(1, n + 1)) for n in np.unique(known.periods).tolist()}
        return np.array([plans[n] for n in known.periods.tolist()], dtype=bool)

    def still_to_default(self, known: Known) -> Floats:
        """[n] probability of a missed payment in the periods that are still to come, given that none was missed in
        those watched: 0 where there are none to come. Only for plans that it `covers`."""
        score = self._standardised(known) @ self.coefficients + self.levels[_age(known, len(self.levels))]
        paid = np.ones(len(known))
        for (n, k), base in self.periods.items():
            ahead = (known.periods == n) & (known.watched < k)
            paid[ahead] *= 1 - sigmoid(base + score[ahead])
        return 1 - paid

    def _standardised(self, known: Known) -> Floats:
        filled = _filled(known.examples.columns(self.names), self.limits, self.centre)
        return np.asarray((filled - self.mean) / self.scale, dtype=np.float64)


def fit_hazard(known: Known, names: Sequence[str], direction: Callable[[str], int]) -> Hazard:
    """Fits on the watched periods of `known`, each weighted as its purchase. `names`: inputs that vary. `direction`:
    which way each may move the risk.

    Raises TrainingRefused where no period has been watched often enough.
    """
    names = tuple(names)
    matrix = known.examples.columns(names)
    centre = np.nan_to_num(np.nanmedian(matrix.astype(np.float64), axis=0))
    limits = limits_of(matrix)
    filled = _filled(matrix, limits, centre)
    mean, scale = filled.mean(axis=0), np.maximum(filled.std(axis=0), 1e-9)
    inputs = (filled - mean) / scale

    last = np.where(known.defaulted, known.missed_in, known.watched)
    of = np.repeat(np.arange(len(known)), last)
    period = np.arange(len(of)) - np.repeat(np.cumsum(last) - last, last) + 1
    cells, cell, times = np.unique(
        np.stack([known.periods[of], period], axis=1), axis=0, return_inverse=True, return_counts=True
    )
    seen = times >= LEAST_WATCHED
    if not seen.any():
        raise TrainingRefused(f"no payment period has been watched in {LEAST_WATCHED} purchases")
    event = (period == known.missed_in[of]).astype(np.float64)
    weight = known.examples.weight[of]
    fortnights = int(_age(known, None).max()) + 1
    age = _age(known, fortnights)
    width, kinds = inputs.shape[1], len(cells)
    rate = float(np.clip(event @ weight / weight.sum(), 1e-6, 1 - 1e-6))
    penalties = np.concatenate(
        [np.full(width, Logistic.PENALTY), np.full(kinds, PERIOD_SPREAD**-2), np.full(fortnights - 1, STEP**-2), [0.0]]
    )

    def loss(parameters: Floats) -> tuple[float, Floats]:
        coefficients, base, steps, level = np.split(parameters, np.cumsum([width, kinds, fortnights - 1]))
        purchase = inputs @ coefficients + _levels(steps)[age]
        score = purchase[of] + base[cell] + level
        wrong = weight * (sigmoid(score) - event)
        of_purchase = np.bincount(of, wrong, len(known))
        of_age = np.bincount(age, of_purchase, fortnights)
        slope = np.concatenate(
            [of_purchase @ inputs, np.bincount(cell, wrong, kinds), np.cumsum(of_age)[:-1], [wrong.sum()]]
        )
        value = weight @ (np.logaddexp(0.0, score) - event * score) + penalties @ parameters**2 / 2
        return float(value), slope + penalties * parameters

    start = np.zeros(len(penalties))
    start[-1] = np.log(rate / (1 - rate))
    free = [(None, None)] * (len(start) - width)
    found = minimum(loss, start, [*sign_bounds([direction(name) for name in names]), *free])
    coefficients, base, steps, level = np.split(found, np.cumsum([width, kinds, fortnights - 1]))
    return Hazard(
        names=names,
        limits=limits,
        centre=centre,
        mean=mean,
        scale=scale,
        coefficients=coefficients,
        periods={
            (int(n), int(k)): float(value + level[0])
            for (n, k), value, enough in zip(cells, base, seen, strict=True)
            if enough
        },
        levels=_levels(steps),
    )


def _levels(steps: Floats) -> Floats:
    """[fortnights] levels by age, the oldest 0; `steps[i]`: from age i + 1 to age i."""
    return np.append(np.cumsum(steps[::-1])[::-1], 0.0)


def _age(known: Known, fortnights: int | None) -> NDArray[np.int64]:
    """[n] fortnights since the purchase; no more than were fitted."""
    age: NDArray[np.int64] = (known.as_of_us - known.examples.occurred_us) // PERIOD_US
    return age if fortnights is None else np.minimum(age, fortnights - 1)


def _filled(matrix: NDArray[np.float32], limits: Floats, centre: Floats) -> Floats:
    return np.where(np.isnan(matrix), centre, cut(matrix, limits))
