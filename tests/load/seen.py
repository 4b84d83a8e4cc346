"""What the clients of a run saw, held against the same objectives that the services' own metrics are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from deploy.monitoring.kept import Kept
from deploy.monitoring.objectives import OBJECTIVES, Objective

CHECKOUT, PUBLISH = "POST /v1/decisions", "bnpl-transactions"

ACKNOWLEDGED_IN_S, ACKNOWLEDGED_SHARE = 1.0, 0.99
"""Of a producer's records, from when each was due: it has the next one by then. No alert speaks of it, for the services
count from a record's own time on, and see nothing of one that can't be published."""


def objective(alert: str) -> Objective:
    return next(each for each in OBJECTIVES if each.alert == alert)


@dataclass(frozen=True, slots=True)
class Seen:
    """Of one kind of request."""

    name: str
    requests: int
    failures: int
    times_ms: Mapping[float, int]
    """How many took how long, each from when it was due; failed ones among them, and those that were missed."""
    missed: int = 0
    """That were due and never asked, for those before them took too long; none of `requests`. They took until the end
    at least."""

    @property
    def due(self) -> int:
        return self.requests + self.missed

    def kept(self) -> list[Kept]:
        """Of a checkout: answered, and in time, as whoever asked saw it."""
        fails, slow = objective("CheckoutFails"), objective("CheckoutSlow")
        return [Kept(fails, self.requests, self.failures), Kept(slow, self.due, self.late(slow.bound_s))]

    def late(self, bound_s: float) -> int:
        return sum(count for took_ms, count in self.times_ms.items() if took_ms > bound_s * 1000)

    def acknowledged_late(self) -> bool:
        """Of a producer: whether too many of its records were."""
        return self.late(ACKNOWLEDGED_IN_S) > round(1 - ACKNOWLEDGED_SHARE, 6) * self.due

    def percentile_ms(self, share: float) -> float:
        """Nearest rank; 0 where there was none."""
        rank, counted = share * self.due, 0
        for took_ms, count in sorted(self.times_ms.items()):
            counted += count
            if counted >= rank:
                return took_ms
        return 0.0

    def as_json(self) -> dict[str, Any]:
        return {
            "name": self.name, "requests": self.requests, "failures": self.failures, "missed": self.missed,
            "times_ms": sorted(self.times_ms.items()),
        }  # fmt: skip

    @staticmethod
    def of(told: Mapping[str, Any]) -> Seen:
        return Seen(told["name"], told["requests"], told["failures"], dict(told["times_ms"]), told["missed"])
