"""What the families of small trees have in common, whichever library grows them."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar, Self

from services.trainer.families.base import Conditions, Inputs, ModelFamily


class SmallTrees(ModelFamily):
    """Gradient-boosted trees: shallow, few, stopped by the validation part."""

    PATIENCE = 15
    """Rounds without a gain after which no more are tried."""

    SPACE: ClassVar = {"learning_rate": (0.08, 0.04, 0.16), "l2": (5.0, 1.0, 30.0), "features": (0.8, 0.5, 1.0)}
    """`features`: the share of them that each tree may look at."""

    def __init__(self, inputs: Inputs, conditions: Conditions, depth: int = 2) -> None:
        """`depth`: at most 3, or its contributions can't be tabulated."""
        super().__init__(inputs, conditions)
        self._depth = depth
        self._model: Any = None

    @classmethod
    def candidates(cls, inputs: Sequence[Inputs], conditions: Conditions) -> list[Self]:
        return [*(cls(each, conditions, depth=2) for each in inputs), cls(inputs[-1], conditions, depth=3)]

    @property
    def name(self) -> str:
        rounds = self._rounds() if self._model is not None else 0
        return f"{self.family}, depth {self._depth}, {rounds} rounds, {self.inputs.name}"

    @abstractmethod
    def _rounds(self) -> int:
        """How many trees the fitted model has."""
