"""What the gates are shown of a candidate."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from services.trainer.evaluate import Economics
from services.trainer.examples import Examples
from services.trainer.gate import Champion
from shared.model_artifact.files import ModelFiles

Values = NDArray[np.object_]


@dataclass(frozen=True)
class Groups:
    """Of each row of the hold-out, in its order; `unknown` where the source doesn't say."""

    segments: Mapping[str, Values]
    """Credit score range, product category, instalments: what a model may know."""
    protected: Mapping[str, Values]
    """Age bracket and state: for measurement alone."""


@dataclass(frozen=True)
class Dossier:
    files: ModelFiles
    """Verified."""
    holdout: Examples
    """Matured, and not learnt from."""
    probability: NDArray[np.float64]
    """[n] calibrated, of the hold-out, by the registered graph."""
    champion: Champion
    groups: Groups
    economics: Economics

    @property
    def approve(self) -> NDArray[np.bool_]:
        """What pays, by the stated economics."""
        return np.asarray(self.probability < self.economics.break_even)


def parts(values: Mapping[str, Values]) -> Iterator[tuple[str, NDArray[np.bool_]]]:
    """Each value of each column by its name, and which rows have it."""
    for name, column in values.items():
        texts = column.astype(str)
        for value in np.unique(texts):
            yield f"{name.replace('_', ' ')} {value}", texts == value
