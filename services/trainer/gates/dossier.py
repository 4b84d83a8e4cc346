"""What the gates are shown of a candidate."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from services.trainer.evaluate import Customers, Economics, numbered
from services.trainer.examples import Examples
from services.trainer.gate import Champion
from shared.model_artifact.files import ModelFiles

Values = NDArray[np.object_]


@dataclass(frozen=True)
class Applications:
    """Parallel columns of m purchases, in the order of their times: all of the hold-out's time, lent or not. Whom a
    model would approve needs no outcome, and among those that were lent nobody is whom the champion turned away."""

    customer_id: Values
    features: NDArray[np.float32]
    """[m, F] in the order of the hold-out's `feature_names`, NaN where a feature is null."""
    protected: Mapping[str, Values]
    """As of `Groups`."""

    def __len__(self) -> int:
        return len(self.customer_id)


@dataclass(frozen=True)
class Groups:
    """Of each row of the hold-out, in its order; `unknown` where the source doesn't say."""

    segments: Mapping[str, Values]
    """Credit score range, product category, instalments: what a model may know."""
    protected: Mapping[str, Values]
    """Age bracket and state: for measurement alone."""
    applications: Applications


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
    applied: NDArray[np.float64]
    """[m] calibrated, of the applications."""
    economics: Economics

    @property
    def approve(self) -> NDArray[np.bool_]:
        """What pays of the hold-out, by the stated economics."""
        return self._pays(self.probability)

    @property
    def approve_applied(self) -> NDArray[np.bool_]:
        """What pays of the applications."""
        return self._pays(self.applied)

    @cached_property
    def customers(self) -> Customers:
        """Of the hold-out."""
        return numbered(self.holdout.customer_id)

    def _pays(self, probability: NDArray[np.float64]) -> NDArray[np.bool_]:
        return np.asarray(probability < self.economics.break_even)


def parts(values: Mapping[str, Values]) -> Iterator[tuple[str, NDArray[np.bool_]]]:
    """Each value of each column by its name, and which rows have it."""
    for name, column in values.items():
        texts = column.astype(str)
        for value in np.unique(texts):
            yield f"{name.replace('_', ' ')} {value}", texts == value
