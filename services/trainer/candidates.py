"""Who competes: the families that were named, on the purchase alone and with the customer's past.

All are small on purpose. Where every purchase's default probability lies between a few percent and ten, the toss is
nearly all noise: a booster of hundreds of deep trees learns that noise and ranks new purchases worse than a regression.
"""

from __future__ import annotations

from collections.abc import Sequence

from services.trainer.families import Conditions, Inputs, ModelFamily
from services.trainer.families.found import load
from services.trainer.prohibited import check_inputs
from shared.feature_definitions import FEATURES, MODEL_FEATURES


def inputs() -> list[Inputs]:
    """What a model may look at, little first: the customer's past is most of the features, and on little data mostly
    noise. Raises TrainingRefused for a feature that no model may use."""
    check_inputs(MODEL_FEATURES)
    purchase = [feature.name for feature in FEATURES if feature.name in MODEL_FEATURES and not feature.rolling]
    return [Inputs("the purchase alone", tuple(purchase)), Inputs("with the customer's past", MODEL_FEATURES)]


def candidates_of(families: Sequence[str], conditions: Conditions) -> list[ModelFamily]:
    """Simplest first within each family, families in the order named: a later one has to be clearly better
    (`train.choose`). Raises FamilyRefused, TrainingRefused."""
    return [candidate for family in load(families) for candidate in family.candidates(inputs(), conditions)]
