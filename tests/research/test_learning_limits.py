"""What can be learnt from the simulator's purchases, and what can't: 60 days of 5,000 purchases from each generator.

Some minutes. The figures are printed (`-s`), for the model cards and the documentation.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest
from numpy.typing import NDArray

from services.trainer.candidates import candidates_of
from services.trainer.evaluate import auc
from services.trainer.families import Conditions, Inputs, ModelFamily
from services.trainer.families.found import DEFAULT_FAMILIES
from services.trainer.families.linear import Logistic
from services.trainer.families.xgboost_trees import XGBoostTrees
from services.trainer.split import Split, temporal_split
from services.trainer.train import choose, learn
from shared.feature_definitions import FEATURES
from tests.research.simulated import SimulatedHistory, simulated_history

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

DAYS, DAILY, SEED = 60, 5_000, 20260601
CONDITIONS = Conditions(seed=1, threads=2)
PURCHASE = tuple(feature.name for feature in FEATURES if not feature.rolling)
EVERYTHING = tuple(feature.name for feature in FEATURES)


@dataclass(frozen=True)
class Learnt:
    split: Split
    ceiling: float
    """AUC of the expected rate on the test part."""

    def auc_of(self, candidates: list[ModelFamily]) -> tuple[float, str]:
        """On the test part, of what is chosen among these."""
        chosen = choose(learn(self.split, candidates))
        return auc(self.split.test.label, chosen.probability(self.split.test)), chosen.candidate.name


def prepared(generator: str) -> Learnt:
    history: SimulatedHistory = simulated_history(generator, DAYS, DAILY, SEED)
    # Same order as the examples': they come in the order of their times, and ties must not part rates from rows.
    order = np.lexsort((history.examples.event_id.astype(str), history.examples.occurred_us))
    split = temporal_split(history.examples.ordered(), 0.2, 0.2)
    rates: NDArray[np.float64] = history.expected_rate[order][-len(split.test) :]
    return Learnt(split, auc(split.test.label, rates))


@pytest.fixture(scope="module")
def bnpl() -> Learnt:
    return prepared("bnpl")


@pytest.fixture(scope="module")
def bnpl_history() -> Learnt:
    return prepared("bnpl_history")


def boosted(wanted: tuple[str, ...]) -> list[ModelFamily]:
    return [XGBoostTrees(Inputs(f"{len(wanted)} features", wanted), CONDITIONS, depth=3)]


def logistic(wanted: tuple[str, ...]) -> list[ModelFamily]:
    return [Logistic(Inputs(f"{len(wanted)} features", wanted), CONDITIONS)]


def test_the_model_comes_within_half_a_point_of_the_best_possible(bnpl: Learnt) -> None:
    reached, name = bnpl.auc_of(candidates_of(DEFAULT_FAMILIES, CONDITIONS))
    print(f"\nbnpl: ceiling {bnpl.ceiling:.4f}, {name} {reached:.4f}, {len(bnpl.split.test)} events")
    assert bnpl.ceiling - reached <= 0.005


@pytest.mark.parametrize("family", [logistic, boosted])
def test_the_customers_past_adds_nothing_where_the_law_does_not_look_at_it(
    bnpl: Learnt, family: Callable[[tuple[str, ...]], list[ModelFamily]]
) -> None:
    without, _ = bnpl.auc_of(family(PURCHASE))
    with_past, name = bnpl.auc_of(family(EVERYTHING))
    print(f"\nbnpl: {name}: {with_past:.4f} with the past, {without:.4f} without")
    assert abs(with_past - without) < 0.003


def test_the_customers_past_is_worth_two_points_where_the_law_does_look_at_it(bnpl_history: Learnt) -> None:
    without, _ = bnpl_history.auc_of(boosted(PURCHASE))
    with_past, name = bnpl_history.auc_of(boosted(EVERYTHING))
    print(f"\nbnpl_history: {name}: {with_past:.4f} with the past, {without:.4f} without")
    assert with_past - without >= 0.02


def test_the_trainer_itself_chooses_a_model_with_the_past_where_it_pays(bnpl_history: Learnt) -> None:
    reached, name = bnpl_history.auc_of(candidates_of(DEFAULT_FAMILIES, CONDITIONS))
    print(f"\nbnpl_history: ceiling {bnpl_history.ceiling:.4f}, {name} {reached:.4f}")
    assert "customer's past" in name
    assert bnpl_history.ceiling - reached <= 0.02
