"""Which outcomes count as matured."""

from __future__ import annotations

from typing import Any

import numpy as np

from services.trainer.experiments.exposures import _ordered
from shared.feature_definitions.windows import MICROS_PER_DAY
from shared.policy import load_policy

DAY = MICROS_PER_DAY
NUMBERS = ("declined", "probability", "latency_us", "amount")
TEXTS = ("variant", "decision", "own", "degraded", "model_version", "shadow", "age_bracket", "state", "currency")
OTHERS: dict[str, list[Any]] = dict.fromkeys(NUMBERS, [0.0] * 3) | dict.fromkeys(TEXTS, [""] * 3)
"""What is read beside it."""


def test_where_outcomes_come_once_a_night_nothing_matures_before_the_last_of_them() -> None:
    """Defaults are told weeks before: those of the day that matures now would be all that is known of it."""
    columns: dict[str, list[Any]] = {
        "event_id": ["early", "late", "latest"],
        "customer_id": ["a", "b", "c"],
        "decided_us": [0, DAY, 57 * DAY],
        "occurred_us": [0, DAY, 57 * DAY],
        "plan_days": [56, 56, 56],
        "defaulted": [0.0, 1.0, None],
    }
    for watched_days, matured in ((56, [True, False, False]), (57, [True, True, False]), (90, [True, True, False])):
        found = _ordered(columns | OTHERS, watched_days * DAY)
        assert (~np.isnan(found.defaulted)).tolist() == matured


def test_amounts_are_of_one_size_whatever_the_currency() -> None:
    columns: dict[str, list[Any]] = {
        "event_id": ["a", "b", "c"],
        "customer_id": ["a", "b", "c"],
        "decided_us": [0, 1, 2],
        "occurred_us": [0, 1, 2],
        "plan_days": [56, 56, 56],
        "defaulted": [None, None, None],
    }
    told = columns | OTHERS | {"currency": ["USD", "JPY", None], "amount": [100.0, 15_000.0, None]}
    amounts = _ordered(told).amount
    assert amounts[0] == 100.0
    assert amounts[1] == 15_000 / float(load_policy().units_per_usd["JPY"])
    assert np.isnan(amounts[2]), "a purchase that isn't in the warehouse"
