"""Amounts that are added up are of one size."""

from __future__ import annotations

import numpy as np

from services.trainer.currencies import in_usd
from shared.policy import load_policy


def test_amounts_are_made_of_the_size_of_dollars_by_the_rates_of_the_policy() -> None:
    units = load_policy().units_per_usd
    amounts = np.array([100.0, 100.0, 100.0, 100.0])
    found = in_usd(amounts, ["USD", "JPY", None, "XXX"])
    assert found.tolist() == [100.0, 100.0 / float(units["JPY"]), 100.0, 100.0]
    assert found[1] < 1
