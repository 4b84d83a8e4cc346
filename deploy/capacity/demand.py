"""What is asked of a deployment, and what it may keep in reserve."""

from __future__ import annotations

from dataclasses import dataclass

from shared.contracts.topics import DAY_MS, FEATURES

DAY_S = 86_400
STATE_DAYS = 28
"""What purchases each of a customer are counted over."""

MEAN_OF_PEAK = 0.5
"""Of a day's mean against its best hour: in the simulator's calendar, taken from recorded events, 0.53."""

BUSY = 0.6
"""Of a core, that a process may be busy at the peak. What is left takes over from a pod that is being restarted, and
works off what came meanwhile."""
LEAST_PODS = 2
"""Of each service, as in deploy/k8s/base: one is restarted while the other goes on."""
GROWTH = 2.0
"""More partitions than pods now, by so much: their number can't be changed without new topics and a rebuild."""
REPLICAS = 3
"""Of each partition of the log."""
CLAIM_DAYS = FEATURES.retention_ms / DAY_MS
"""How long a decision is known in Redis under its event's id (SCORER__CLAIM_TTL_SECONDS)."""
MEMORY_RESERVE = 1.5
"""Over the most that a process was seen to hold, and over the bytes of Redis: rewriting its log, fragments, replicas'
buffers."""


@dataclass(frozen=True, slots=True)
class Demand:
    """`events`, `checkouts`: purchases a second over each door in the best hour. Each has an outcome later."""

    events: float
    checkouts: float
    customers: int
    partitions: int | None = None
    """None: as many as the pods make sensible."""
    claim_days: float = CLAIM_DAYS
    busy: float = BUSY

    @property
    def peak(self) -> float:
        """Purchases a second."""
        return self.events + self.checkouts

    @property
    def mean(self) -> float:
        """The same, over a whole day."""
        return self.peak * MEAN_OF_PEAK

    @property
    def purchases_each(self) -> float:
        """Of a customer, in the time that states are measured over."""
        return self.mean * DAY_S * STATE_DAYS / self.customers
