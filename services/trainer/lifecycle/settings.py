"""Settings of the loop that looks after the models."""

from __future__ import annotations

from pydantic import Field

from services.trainer.lifecycle.triggers import Plan
from shared.settings import Section


class LifecycleSection(Section):
    """Days are of the stream."""

    look_days: float = Field(default=1.0, gt=0)
    """Between two looks: what is compared are whole days."""
    guard_hours: float = Field(default=1.0, gt=0)
    """Between two looks at a candidate that decides for customers, which may take it out and do nothing else."""
    first_defaults: int = Field(default=2000, ge=0)
    """Matured defaults that the first model needs: some 30 to 90 for each input, as is asked of a regression's sample
    (Riley et al., Statistics in Medicine 2019). One of fewer does no better than the incumbent rule, and nobody can
    tell beforehand how well it does. Until then the policy's fallback decides."""
    every_days: float = Field(default=Plan.every_days, gt=0)
    """Between two trainings while nothing is the matter."""
    changed_days: float = Field(default=Plan.changed_days, gt=0)
    """Between two trainings while the world is another one than the champion's."""
    back_off_days: float = Field(default=Plan.back_off_days, gt=0)
    """After a training that came to nothing; doubled with each further one."""

    @property
    def plan(self) -> Plan:
        return self.filled(Plan)
