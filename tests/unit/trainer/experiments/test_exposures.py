"""Which outcomes count as matured."""

from __future__ import annotations

from typing import Any

import numpy as np

from services.trainer.examples import TOLD_BY_FEW
from services.trainer.experiments.exposures import _ordered
from shared.feature_definitions.windows import MICROS_PER_DAY
from shared.policy import load_policy

DAY = MICROS_PER_DAY
NUMBERS = ("declined", "lent", "probability", "latency_us", "amount", "observed_us")
TEXTS = (
    "variant",
    "decision",
    "own",
    "degraded",
    "model_version",
    "shadow",
    "age_bracket",
    "state",
    "currency",
    "source",
)
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


def test_of_a_day_that_a_source_left_out_nothing_has_matured_whatever_was_decided() -> None:
    """Ten loans a day, of which the first defaults and is told of early; every fifth purchase was turned away."""
    n = 200
    bought, place = np.arange(n) // 10, np.arange(n) % 10
    lent, bad = place % 5 != 4, place == 0
    told = bad | (bought != 7)
    columns: dict[str, list[Any]] = {name: [values[0]] * n for name, values in OTHERS.items()} | {
        "event_id": [f"e{i:04}" for i in range(n)],
        "customer_id": [f"c{i}" for i in range(n)],
        "decided_us": list(range(n)),
        "occurred_us": (bought * DAY).tolist(),
        "plan_days": [0] * n,
        "lent": lent.tolist(),
        "defaulted": [float(bad[i]) if told[i] else None for i in range(n)],
        "observed_us": [int(bought[i]) * DAY if told[i] else None for i in range(n)],
    }
    found = _ordered(columns, 100 * DAY)
    assert set(found.occurred_us[~found.matured] // DAY) == {7}
    assert np.nanmean(found.defaulted) == 0.1


def test_of_a_source_that_went_silent_nothing_matures_though_others_go_on_telling() -> None:
    """Half of them are told by a source that stopped on day 60, when it had told some defaults of later loans."""
    n = 640
    silent = np.arange(n) % 2 == 0
    bought = np.arange(n) // 2 % 40
    bad = (np.arange(n) // 80 + bought) % 4 == 0
    shows = np.where(bad, bought + 20, bought + 56)
    told = ~silent | (shows <= 60)
    assert (told & silent).sum() > TOLD_BY_FEW
    columns: dict[str, list[Any]] = {
        "event_id": [f"e{i:04}" for i in range(n)],
        "customer_id": [f"c{i}" for i in range(n)],
        "decided_us": list(range(n)),
        "occurred_us": (bought * DAY).tolist(),
        "plan_days": [56] * n,
        "defaulted": [float(bad[i]) if told[i] else None for i in range(n)],
        "observed_us": [int(shows[i]) * DAY if told[i] else None for i in range(n)],
        "source": ["silent" if each else "telling" for each in silent],
    }
    latest: dict[str, list[Any]] = {name: [values[0]] for name, values in columns.items()}
    latest |= {
        "event_id": ["z"],
        "occurred_us": [100 * DAY],
        "decided_us": [n],
        "defaulted": [None],
        "observed_us": [None],
    }
    others: dict[str, list[Any]] = {
        name: [values[0]] * (n + 1) for name, values in OTHERS.items() if name not in columns
    }
    found = _ordered({name: columns[name] + latest[name] for name in columns} | others, 100 * DAY)
    matured = found.occurred_us[found.matured] // DAY
    of_silent = silent[np.flatnonzero(found.matured)]
    assert matured[of_silent].max() == 60 - 56
    assert matured[~of_silent].max() == 39
    assert np.nanmean(found.defaulted[:n][silent]) == 0.25, "defaults are as many of what counts as of all"


def test_a_lender_learns_the_outcome_of_what_was_lent_in_the_end_whatever_was_decided() -> None:
    """Called off; approved by a reviewer; in review for good. A simulator tells what became of each."""
    columns: dict[str, list[Any]] = {
        "event_id": ["a", "b", "c"],
        "customer_id": ["called off", "reviewed", "waiting"],
        "decided_us": [0, 1, 2],
        "occurred_us": [0, 1, 2],
        "plan_days": [0, 0, 0],
        "defaulted": [0.0, 1.0, 0.0],
        "decision": ["approve", "review", "review"],
        "lent": [False, True, False],
    }
    known = _ordered(OTHERS | columns, DAY).approved_and_matured
    assert (list(known.customer_id), list(known.defaulted)) == (["reviewed"], [1.0])


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


def test_a_model_failed_where_it_gave_no_answer_or_none_was_there_and_not_for_want_of_a_vector() -> None:
    why = [None, "model_failed", "no_model", "rebuilding", "state_unavailable", "feature_set_mismatch"]
    n = len(why)
    columns: dict[str, list[Any]] = {name: [values[0]] * n for name, values in OTHERS.items()} | {
        "event_id": [f"e{i}" for i in range(n)],
        "customer_id": [f"c{i}" for i in range(n)],
        "decided_us": list(range(n)),
        "occurred_us": list(range(n)),
        "plan_days": [56] * n,
        "defaulted": [None] * n,
        "degraded": why,
    }
    found = _ordered(columns)
    assert found.failed.tolist() == [False, True, True, False, False, False]
    assert found.degraded.tolist() == [False, *[True] * 5]
