"""Purchases with a known law over declared features, and to whom they belong."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from services.trainer.examples import Examples
from services.trainer.gates.dossier import Applications, Groups
from shared.model_artifact.manifest import sigmoid
from tests.unit.trainer.synthetic import DAY_US, DAYS, MATURITY_US, START_US

NAMES = (
    "amount", "credit_score_rank", "tenure_days", "credit_utilization", "income_rank", "address_stability_rank",
)  # fmt: skip
AGES = ("18-24", "25-34", "35-44", "45-54", "55+")
STATES = tuple(f"S{number:02d}" for number in range(20))
CATEGORIES = ("electronics", "clothing", "home")
ROWS = 9000


def population(seed: int = 1, *, movers_risk: float = 0.0, rows: int = ROWS) -> tuple[Examples, Callable[..., Groups]]:
    """Examples, and what gives the groups of any of their rows: these were all lent.

    `movers_risk`: how much more of a risk frequent movers are, in log-odds. Nearly all of the youngest are, and few
    others.
    """
    draws = np.random.default_rng(seed)
    occurred = START_US + np.sort(draws.integers(0, DAYS * DAY_US // 1_000_000, rows)) * 1_000_000
    rank = draws.integers(0, 4, rows).astype(float)
    utilization = np.where(draws.random(rows) < 0.5, np.nan, draws.random(rows))
    income = draws.integers(0, 5, rows).astype(float)
    age = draws.integers(0, len(AGES), rows)
    moves = draws.random(rows) < np.where(age == 0, 0.95, 0.05)
    amount = np.round(draws.uniform(15, 400, rows), 2)
    score = 0.9 * (1.5 - rank) + 0.5 * (2 - income) + np.nan_to_num(utilization, nan=0.3) - 3.4 + movers_risk * moves
    tenure = draws.integers(0, 2000, rows).astype(float)
    features = np.stack([amount, rank, tenure, utilization, income, np.where(moves, 0.0, 2.0)], axis=1)
    examples = Examples(
        event_id=np.array([f"event-{i:06d}" for i in range(rows)], dtype=object),
        transaction_id=np.array([f"txn_{i:08d}" for i in range(rows)], dtype=object),
        customer_id=np.array([f"cust_{i:06d}" for i in range(rows)], dtype=object),
        occurred_us=occurred.astype(np.int64),
        mature_us=(occurred + MATURITY_US).astype(np.int64),
        amount=amount,
        weight=np.ones(rows),
        label=(draws.random(rows) < sigmoid(score)).astype(np.int8),
        rule_approves=(rank >= 2).astype(np.int8),
        features=features.astype(np.float32),
        feature_names=NAMES,
        feature_set_version="1-test",
    )
    segments = {
        "credit_score_range": np.array(["poor", "fair", "good", "excellent"], dtype=object)[rank.astype(int)],
        "product_category": np.array(CATEGORIES, dtype=object)[draws.integers(0, len(CATEGORIES), rows)],
        "instalments": np.array(["4", "6"], dtype=object)[draws.integers(0, 2, rows)],
    }
    protected = {
        "age_bracket": np.array(AGES, dtype=object)[age],
        "state": np.array(STATES, dtype=object)[draws.integers(0, len(STATES), rows)],
    }

    def groups_of(some: Examples) -> Groups:
        places = np.array([int(str(event).removeprefix("event-")) for event in some.event_id])
        theirs = {name: column[places] for name, column in protected.items()}
        applications = Applications(some.customer_id, some.features, theirs)
        return Groups({name: column[places] for name, column in segments.items()}, theirs, applications)

    return examples, groups_of


def with_column(examples: Examples, name: str, values: np.ndarray) -> Examples:
    """One feature more."""
    features = np.concatenate([examples.features, values[:, None].astype(np.float32)], axis=1)
    return replace(examples, features=features, feature_names=(*examples.feature_names, name))
