"""What the served models say of themselves: that it adds up, and that it is why."""

from __future__ import annotations

import numpy as np
import pytest

from shared.model_artifact.manifest import logit, sigmoid
from tests.unit.trainer.families.fitted import BUILD, fitted, parts, served
from tests.unit.trainer.synthetic import synthetic_examples

EXPLAINING = [name for name in BUILD if name != "neural-network"]
EVENTS = 10_000
BACKGROUND = 200
"""Other purchases whose value of a feature takes the place of the one that a reason names."""


@pytest.mark.parametrize("name", EXPLAINING)
def test_of_ten_thousand_purchases_base_and_contributions_add_up_to_the_score(name: str) -> None:
    matrix = synthetic_examples(EVENTS, seed=11).features
    told = served(fitted(name)).explain(matrix)
    assert told.contributions.shape == matrix.shape
    assert np.abs(sigmoid(told.base + told.contributions.sum(axis=1)) - told.raw).max() <= 1e-6


@pytest.mark.parametrize("name", EXPLAINING)
def test_without_what_a_reason_names_the_risk_is_lower(name: str) -> None:
    """By at least about as much as it was said to add (what two features do together is shared between them): its value
    is replaced by those of other purchases, the rest stays."""
    model, rows = served(fitted(name)), parts()[1].features
    told = model.explain(rows)
    risky = np.argsort(told.raw)[-300:]
    said, found = [], []
    for row in risky:
        named = int(told.contributions[row].argmax())
        without = np.repeat(rows[row : row + 1], BACKGROUND, axis=0)
        without[:, named] = rows[:BACKGROUND, named]
        said.append(told.contributions[row, named])
        found.append(logit(told.raw[row : row + 1])[0] - logit(model.explain(without).raw).mean())
    assert min(said) > 0
    assert min(found) > 0
    assert np.mean(found) > 0.75 * np.mean(said)
