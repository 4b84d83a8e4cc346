"""Amounts of several currencies, so that profit can be added up."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from shared.policy import load_policy


def in_usd(amounts: NDArray[np.float64], currencies: Iterable[str | None]) -> NDArray[np.float64]:
    """[n] of the size of US dollars, by the rough rates of the policy (`units_per_usd`): a figure for comparisons, not
    money. An unknown currency is taken for dollars, and so is none: an erased row, or one of before there were any."""
    units = load_policy().units_per_usd
    sized: NDArray[np.float64] = amounts / np.array([float(units.get(each or "USD", 1)) for each in currencies])
    return sized
