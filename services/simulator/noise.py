"""simtom's noise: it multiplies every number of an event, booleans and labels included, and leaves floats behind."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np

from services.simulator.law import Floats

NoiseType = Literal["none", "gaussian", "uniform", "outliers"]

OUTLIER_FACTOR = (2.0, 5.0)
"""Of either sign."""
BACKGROUND = 0.01
"""Standard deviation of the values that are no outliers; measured on the recorded stream."""

UNTOUCHED = frozenset({"_record_id"})


def factors(kind: NoiseType, level: float, n: int, rng: np.random.Generator) -> Floats:
    """`n` factors. gaussian: N(1, level); uniform: 1 ± level; outliers: with a chance of `level` ±2 to ±5."""
    if kind == "gaussian":
        return rng.normal(1.0, level, n)
    if kind == "uniform":
        return rng.uniform(1.0 - level, 1.0 + level, n)
    if kind == "outliers":
        outliers = rng.uniform(*OUTLIER_FACTOR, n) * rng.choice((-1.0, 1.0), n)
        return np.where(rng.random(n) < level, outliers, rng.normal(1.0, BACKGROUND, n))
    return np.ones(n)


def disturb(event: dict[str, Any], kind: NoiseType, level: float, rng: np.random.Generator) -> None:
    """Change the numbers of the event in place; nulls and text stay. A zero stays one, perhaps as −0.0."""
    names = [name for name, value in event.items() if isinstance(value, int | float) and name not in UNTOUCHED]
    for name, factor in zip(names, factors(kind, level, len(names), rng).tolist(), strict=True):
        event[name] = float(event[name]) * factor
