"""Until when anybody looked on, and on which days: a default is told weeks before a good loan is, so that of what ran
its course since its source told last, or on days that it left out, the defaults alone would be known."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from services.trainer.examples import MOST_UNTOLD, TOLD_BY_FEW, UNTOLD_BY_CHANCE
from shared.feature_definitions.windows import MICROS_PER_DAY


def watched_until(
    observed_us: NDArray[np.int64], told: NDArray[np.bool_], source: NDArray[np.object_], all_us: int
) -> NDArray[np.int64]:
    """[n] when each purchase's source told last. `observed_us`: of the outcomes that were `told`. `all_us`: when
    anybody did, which is taken for a source that has told of fewer than `TOLD_BY_FEW`."""
    _, number = np.unique(source.astype(str), return_inverse=True)
    counts = np.bincount(number[told], minlength=number.max(initial=-1) + 1)
    last = np.zeros(len(counts), np.int64)
    np.maximum.at(last, number[told], observed_us[told])
    return np.asarray(np.where(counts[number] < TOLD_BY_FEW, all_us, last[number]))


def heard_of(
    mature_us: NDArray[np.int64], over: NDArray[np.bool_], told: NDArray[np.bool_], source: NDArray[np.object_]
) -> NDArray[np.bool_]:
    """[n] whether each purchase's source has told of as good as all loans of its day. `over`: those of them that were
    lent and have run their course; `told`: whether there is an outcome. As of `services.trainer.told`."""
    _, number = np.unique(source.astype(str), return_inverse=True)
    day = mature_us // MICROS_PER_DAY
    _, place = np.unique(number * (day.max(initial=0) + 1) + day, return_inverse=True)
    loans = np.bincount(place, weights=over)
    untold = np.bincount(place, weights=over & ~told)
    return np.asarray((untold <= np.maximum(UNTOLD_BY_CHANCE, MOST_UNTOLD * loans))[place])
