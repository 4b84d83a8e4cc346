"""Settings of the gates and of the ladder."""

from __future__ import annotations

from pydantic import Field

from services.trainer.gates.limits import GateLimits
from services.trainer.promotion.requirements import Requirements
from shared.settings import Section


class GatesSection(Section):
    """What each limit means: `services.trainer.gates.limits`."""

    noise: float = Field(default=GateLimits.noise, gt=0, le=0.5)
    profit_noise: float = Field(default=GateLimits.profit_noise, gt=0, le=0.5)
    loss_spread: float = Field(default=GateLimits.loss_spread, ge=0, lt=1)
    false_alarms: float = Field(default=GateLimits.false_alarms, gt=0, lt=1)
    miscalibration: float = Field(default=GateLimits.miscalibration, ge=0)
    impact_ratio: float = Field(default=GateLimits.impact_ratio, gt=0, le=1)
    error_by_group: float = Field(default=GateLimits.error_by_group, ge=0, lt=1)
    one_row_ms: float = Field(default=GateLimits.one_row_ms, gt=0)
    batch_ms: float = Field(default=GateLimits.batch_ms, gt=0)
    times_champion: float = Field(default=GateLimits.times_champion, ge=1)
    mismatch: float = Field(default=GateLimits.mismatch, ge=0, lt=1)

    @property
    def limits(self) -> GateLimits:
        return self.filled(GateLimits)


class LadderSection(Section):
    """What a candidate has to show at each stage. Days are of event time."""

    enabled: bool = False
    """Whether `train` lets its model climb, rather than promote it at once; `--ladder` and `--no-ladder` say
    otherwise."""
    alpha: float = Field(default=0.05, gt=0, lt=1)
    shadow_decisions: int = Field(default=1000, ge=1)
    shadow_days: float = Field(default=7.0, ge=0)
    canary_share: float = Field(default=0.05, gt=0, lt=1)
    canary_customers: int = Field(default=200, ge=1)
    canary_decisions: int = Field(default=300, ge=1)
    canary_days: float = Field(default=7.0, ge=0)
    probation_decisions: int = Field(default=2000, ge=1)
    probation_days: float = Field(default=28.0, ge=0)
    settle_seconds: float = Field(default=10.0, ge=0)
    """Longer than scorers take to learn of a step (SCORER__RELOAD_SECONDS)."""

    @property
    def requirements(self) -> Requirements:
        return self.filled(Requirements)
