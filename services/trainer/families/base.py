"""What a family of models has to be able to do. Imports no training library."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from services.trainer.families.directions import direction
from shared.model_artifact.explanation import Explanation

Matrix = NDArray[np.float32]
Labels = NDArray[np.int8]

INPUT, LABEL_OUTPUT, PROBABILITY_OUTPUT = "features", "label", "probabilities"
"""Names in every exported graph: what the scorer feeds and reads."""

OPSET = 15
"""Of exported graphs. Pinned, so that a newer converter doesn't change what a model is made of."""


@dataclass(frozen=True)
class Inputs:
    """Features that a model may use."""

    name: str
    """For logs and the model card."""
    features: tuple[str, ...]


@dataclass(frozen=True)
class Conditions:
    """What holds for every candidate of one training."""

    seed: int
    threads: int
    direction: Callable[[str], int] = direction
    """Which way a feature may move the risk: 1 up, -1 down, 0 either."""
    cluster: Any = None
    """A client of the Dask cluster that a family which can is fitted on; None: here."""


@dataclass(frozen=True)
class Sample:
    """Purchases to learn from, or to look at."""

    matrix: NDArray[np.floating]
    """[n, F], NaN for null."""
    label: Labels
    """[n], 1: defaulted."""
    weight: NDArray[np.float64]
    """[n], how many purchases of its kind each stands for: 1 / its propensity of being approved."""


class FamilyRefused(Exception):
    """A family that isn't there, isn't one, or can't be used on this machine."""


class ModelFamily(ABC):
    """One way to learn a raw (uncalibrated) probability of default from [n, F] float32 features, NaN for null.

    An instance is one candidate: it is fitted, then asked, exported and explained. A copy of it may be fitted anew,
    which forgets what the first one learnt. What has to hold is checked on
    every row of the hold-out and on rows with missing values (`export`): the graph answers as `raw_probability` does,
    and where the model explains itself, base and contributions sum to the graph's log-odds. The same data and seed must
    give the same bytes. Libraries are imported when a model is fitted: `--help` and `promote` must not wait for them.
    """

    family: ClassVar[str]
    """As the entry point and the manifest call it."""

    learns_from_validation: ClassVar[bool] = False
    """Whether `fit` takes nothing from the validation part, so that once chosen it is fitted on that part too."""

    SPACE: ClassVar[Mapping[str, Sequence[float]]] = {}
    """What may be tuned: the values that are worth a trial, the default first."""

    def __init__(self, inputs: Inputs, conditions: Conditions) -> None:
        self.inputs, self.conditions = inputs, conditions
        self.settings = {name: values[0] for name, values in self.SPACE.items()}
        """One value for each of `SPACE`."""

    @classmethod
    def candidates(cls, inputs: Sequence[Inputs], conditions: Conditions) -> list[Self]:
        """The models of this family that compete, the simplest first: a later one has to be clearly better.

        `inputs`: few first, all last. Unless overridden, one model on each.
        """
        return [cls(each, conditions) for each in inputs]

    def with_settings(self, settings: Mapping[str, float]) -> Self:
        """A copy with other settings, to be fitted anew."""
        other = copy.deepcopy(self)
        other.settings = {**self.settings, **settings}
        return other

    @property
    def on_cluster(self) -> bool:
        """Whether all of it is fitted on the cluster of the conditions."""
        return False

    @property
    def name(self) -> str:
        """Family, size and inputs, for logs and the model card."""
        return f"{self.family}, {self.inputs.name}"

    @property
    def explains(self) -> bool:
        """Whether `explanation` gives exact contributions. A model without them may answer in shadow, and never decide:
        a decline has to be explained."""
        return True

    @abstractmethod
    def fit(self, names: Sequence[str], train: Sample, validate: Sample) -> None:
        """Fits on train, with columns `names`: those of the inputs that vary. May look at the validation part to choose
        its own size, and at nothing else. Each row counts as often as its weight says."""

    @abstractmethod
    def raw_probability(self, matrix: Matrix) -> NDArray[np.float64]:
        """[n] raw probabilities, as the library itself gives them."""

    @abstractmethod
    def export_onnx(self) -> bytes:
        """A graph with input `features` float32 [n, F] and second output `probabilities` float32 [n, 2]."""

    @abstractmethod
    def explanation(self) -> Explanation | None:
        """Exact contributions in log-odds of the raw probability; None where the model can't give them."""
