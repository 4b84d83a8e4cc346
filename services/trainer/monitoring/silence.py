"""Whether sources tell how their loans ended. Pure."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from shared.feature_definitions.windows import MICROS_PER_DAY

LATE_DAYS = 7
"""After the end of a loan, until an outcome that nobody has told is lacking: a source that tells weekly is sound."""

LATELY_DAYS = 14
"""Of loans that were over by then: a gap of some days is most of what is lacking there, and is past two weeks later.
Over all loans that the monitor reads the same gap would be seen for as long as it reads them."""


@dataclass(frozen=True)
class Silence:
    """A source that tells of nothing any more, while its loans run their course."""

    source: str
    since_us: int | None
    """When it told last; None: it never has."""
    loans: int
    """That were over lately and later than that, and have no outcome."""


@dataclass(frozen=True)
class Told:
    over: int
    """Loans that ran their course lately, and before their source told last."""
    lacking: int
    """Of these, how many are without an outcome."""
    silent: tuple[Silence, ...] = ()
    """Most loans first."""


def told_of(
    source: NDArray[np.object_],
    mature_us: NDArray[np.int64],
    told: NDArray[np.bool_],
    told_us: NDArray[np.float64],
    as_of_us: int,
) -> Told:
    """Of n loans. `told`: whether there is an outcome; `told_us`: when its source told last, NaN where it never has."""
    last_us = as_of_us - LATE_DAYS * MICROS_PER_DAY
    lately = (mature_us <= last_us) & (mature_us > last_us - LATELY_DAYS * MICROS_PER_DAY)
    over = lately & (mature_us <= told_us)
    unheard = lately & ~over & ~told
    names, place, counts = np.unique(source[unheard].astype(str), return_index=True, return_counts=True)
    since_us = [None if np.isnan(at) else int(at) for at in told_us[unheard][place]]
    silent = [Silence(str(name), at, int(count)) for name, at, count in zip(names, since_us, counts, strict=True)]
    return Told(
        int(over.sum()), int((over & ~told).sum()), tuple(sorted(silent, key=lambda each: (-each.loans, each.source)))
    )
