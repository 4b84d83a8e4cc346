"""A run of purchases as columns, before anything is written down."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from services.simulator.catalogue import Codes
from services.simulator.law import Floats
from services.simulator.population import Ints


@dataclass(frozen=True)
class Draw:
    """n purchases in the order of their times; every column has n elements."""

    times_us: Ints
    customer: Ints
    """Number of the customer."""
    person: Ints
    """Row in People."""
    device_slot: Ints
    payment_slot: Ints
    """From 0."""
    product: Ints
    """Row in Products."""
    scenario: Codes
    fast_half: np.ndarray[tuple[int], np.dtype[np.bool_]]
    """Which of the scenario's two checkout speeds."""
    amount: Floats
    utilization: Floats
    """NaN where the event has none."""
    installments: Ints
    cart_abandonments: Ints
    price_comparison: Ints
    time_on_site: Ints
    score: Floats
    expected: Floats
    """The rate that the event and, with `bnpl_history`, the customer's past give away."""
    probability: Floats
    """The hidden one."""
    defaulted: np.ndarray[tuple[int], np.dtype[np.bool_]]
    first_missed: list[int | None]
    """Days after the purchase; None where nothing is missed."""
