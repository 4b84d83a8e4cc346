"""What a lending decision is assumed to earn. Pure."""

from __future__ import annotations

from dataclasses import dataclass

BASIS_POINTS = 10_000.0


@dataclass(frozen=True)
class Economics:
    """What a decision earns, as shares of the amount. Break-even: margin / (margin + loss)."""

    margin_on_good: float = 0.03
    loss_on_default: float = 0.60

    @property
    def break_even(self) -> float:
        return self.margin_on_good / (self.margin_on_good + self.loss_on_default)
