"""What the clients of a run saw, held against the same objectives that the services' own metrics are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from deploy.monitoring.kept import Kept
from deploy.monitoring.objectives import OBJECTIVES, Objective

CHECKOUT, PUBLISH = "POST /v1/decisions", "bnpl-transactions"


def objective(alert: str) -> Objective:
    return next(each for each in OBJECTIVES if each.alert == alert)


@dataclass(frozen=True, slots=True)
class Seen:
    """Of one kind of request. `times_ms`: how many took how long; failed ones among them."""

    name: str
    requests: int
    failures: int
    times_ms: Mapping[float, int]

    def kept(self) -> list[Kept]:
        """Of a checkout: answered, and in time, as whoever asked saw it."""
        fails, slow = objective("CheckoutFails"), objective("CheckoutSlow")
        late = sum(count for took_ms, count in self.times_ms.items() if took_ms > slow.bound_s * 1000)
        return [Kept(fails, self.requests, self.failures), Kept(slow, self.requests, late)]

    def percentile_ms(self, share: float) -> float:
        """Nearest rank; 0 where there was none."""
        rank, counted = share * self.requests, 0
        for took_ms, count in sorted(self.times_ms.items()):
            counted += count
            if counted >= rank:
                return took_ms
        return 0.0

    def as_json(self) -> dict[str, Any]:
        return {
            "name": self.name, "requests": self.requests, "failures": self.failures,
            "times_ms": sorted(self.times_ms.items()),
        }  # fmt: skip

    @staticmethod
    def of(told: Mapping[str, Any]) -> Seen:
        return Seen(told["name"], told["requests"], told["failures"], dict(told["times_ms"]))
