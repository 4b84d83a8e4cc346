"""Until when anybody looked on: a default is told weeks before a good loan is, so that of what ran its course since its
source told last, the defaults alone would be known."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from services.trainer.examples import TOLD_BY_FEW


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
