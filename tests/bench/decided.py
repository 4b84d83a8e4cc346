"""By whom the scorer's decisions were made: what a fallback answers is cheap, and no measurement of the model's way."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple, Self

from deploy.local.services import metrics_of

COUNTER = "flit_decisions_total{"
UNDEGRADED = 'degraded=""'


class Decided(NamedTuple):
    """So far, or since an earlier look."""

    by_model: int
    by_fallback: int

    @classmethod
    def of(cls, samples: Mapping[str, float]) -> Self:
        made = {name: value for name, value in samples.items() if name.startswith(COUNTER)}
        by_model = sum(value for name, value in made.items() if UNDEGRADED in name)
        return cls(int(by_model), int(sum(made.values()) - by_model))

    @classmethod
    def at(cls, port: int) -> Self:
        """By the scorer's metrics. Raises AssertionError where it doesn't answer: nothing is no count of nought."""
        samples = metrics_of(port)
        assert samples, f"no metrics at port {port}"
        return cls.of(samples)

    @property
    def together(self) -> int:
        return self.by_model + self.by_fallback

    def since(self, before: Decided) -> Decided:
        return Decided(self.by_model - before.by_model, self.by_fallback - before.by_fallback)
