"""The families of models that compete: one module each, found by name (`found`).

To write one, subclass `ModelFamily`. One of this repository is named in `found.BUILT_IN` and in pyproject.toml; one
from outside is named by its own distribution, under the entry point group `flit_risk.model_families`.
"""

from services.trainer.families.base import (
    INPUT,
    PROBABILITY_OUTPUT,
    Conditions,
    FamilyRefused,
    Inputs,
    Labels,
    Matrix,
    ModelFamily,
    Sample,
)

__all__ = [
    "INPUT",
    "PROBABILITY_OUTPUT",
    "Conditions",
    "FamilyRefused",
    "Inputs",
    "Labels",
    "Matrix",
    "ModelFamily",
    "Sample",
]
