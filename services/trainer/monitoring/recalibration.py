"""How far a model's probabilities are to be believed, once outcomes have come in that it never learnt from.

A model that has learnt from a thousand or two defaults spreads its probabilities too far or not far enough by chance,
and everything that is expected of them alone (expected.py) is off by as much. But before its own decisions mature,
purchases do that lie between those it learnt from and its service: it is asked about them now, and a slope and a level
are fitted. What is expected of a period knows nothing that came to light after the period's end, and none of the
period's own outcomes: purchases of the four weeks before a Monday tell nothing on it. Alarms don't read this: they
hold the probabilities as served against outcomes (losses.py). Pure.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from services.trainer.calibration import fit_platt_near_one
from shared.model_artifact.manifest import Calibration

SLOPE_SPREAD = 0.08
"""Standard deviation of the slope that a calibrated model of some two thousand defaults turns out to have: of eight
first models of the simulator's purchases it was 0.06, and other families do worse."""

MIN_DEFAULTS = 30
"""Below, nothing is said: not even a level."""

AS_SERVED = Calibration()


@dataclass(frozen=True)
class Recalibration:
    """Of one model's probabilities, as they were served."""

    model_version: str
    day: int
    """Days since 1970: made of outcomes that were known when it began, a Monday."""
    calibration: Calibration
    rows: int
    defaults: int


def recalibrated(
    model_version: str,
    day: int,
    said: NDArray[np.float64],
    label: NDArray[np.integer],
    weight: NDArray[np.float64],
) -> Recalibration:
    """`said`: [n] probabilities of purchases that the model hasn't learnt from, with their outcomes and 1 / propensity.
    As served where these are too few."""
    defaults = int(label.sum())
    if min(defaults, len(label) - defaults) < MIN_DEFAULTS:
        return Recalibration(model_version, day, AS_SERVED, len(label), defaults)
    return Recalibration(
        model_version, day, fit_platt_near_one(said, label, weight, SLOPE_SPREAD), len(label), defaults
    )


@dataclass(frozen=True)
class Recalibrations:
    """Of several models, by day."""

    _found: dict[str, list[Recalibration]] = field(default_factory=dict)
    """By model, the earliest first."""

    @staticmethod
    def of(found: Iterable[Recalibration]) -> Recalibrations:
        made = Recalibrations()
        for each in sorted(found, key=lambda each: each.day):
            made._found.setdefault(each.model_version, []).append(each)
        return made

    def known(self, model_version: str, day: int) -> Calibration:
        """The last one of the model that was known at the beginning of the day; as served where there is none."""
        found = self._found.get(model_version, [])
        place = bisect_right(found, day, key=lambda each: each.day)
        return found[place - 1].calibration if place else AS_SERVED


NOTHING_KNOWN = Recalibrations()
