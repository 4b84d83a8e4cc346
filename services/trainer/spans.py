"""Stretches of the stream's time. Pure, and imports no numpy: settings need the type."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from shared.feature_definitions.windows import MICROS_PER_DAY

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Span = tuple[int, int]
"""[from, until) in microseconds."""


def outside(at_us: NDArray[np.int64], spans: Iterable[Span]) -> NDArray[np.bool_]:
    """Which of these moments lie in none of them."""
    found: NDArray[np.bool_] = at_us == at_us
    for since_us, until_us in spans:
        found &= (at_us < since_us) | (at_us >= until_us)
    return found


def touched(day: int, spans: Iterable[Span]) -> bool:
    """Whether any part of a day, counted since 1970, lies in one of them."""
    since_us, until_us = day * MICROS_PER_DAY, (day + 1) * MICROS_PER_DAY
    return any(begins_us < until_us and ends_us > since_us for begins_us, ends_us in spans)
