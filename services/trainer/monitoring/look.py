"""What one look found, and what it amounts to. Pure: whoever starts a training asks `concerns`."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from services.trainer.monitoring.alarms import FEATURE, WEEK, Finding
from services.trainer.monitoring.losses import Loss
from services.trainer.monitoring.performance import Period
from services.trainer.monitoring.soundness import Freshness, Quality, holds, silences, taints


class Concern(StrEnum):
    """Why somebody, or a training, should act."""

    DRIFT = "drift"
    PERFORMANCE_LOSS = "performance loss"
    BROKEN_INPUT = "broken input"
    """What comes in can't be trusted, or is not all that there is: look for its cause, and don't train meanwhile."""
    SILENT_SOURCE = "silent source"
    """Of whose loans no outcomes come any more: look for its feed. Others are learnt from as ever."""


@dataclass(frozen=True)
class Look:
    """Of one model, on the whole days before `until_day`."""

    as_of: str
    """The stream's own time, canonical."""
    until_day: int
    """Days since 1970, not included."""
    model_version: str
    reference_rows: int
    purchases: int
    """Of the last week."""
    days_read: int
    """How many days' purchases this look had to read."""
    drift: tuple[Finding, ...]
    periods: tuple[Period, ...]
    losses: tuple[Loss, ...]
    freshness: Freshness
    quality: Quality

    @property
    def drifted(self) -> list[Finding]:
        return [finding for finding in self.drift if finding.alarm]

    @property
    def lost(self) -> list[Loss]:
        return [loss for loss in self.losses if loss.alarm]

    @property
    def taints(self) -> list[str]:
        """Why what came in within the week is never to be learnt from."""
        return taints(self.drift, self.quality)

    @property
    def holds(self) -> list[str]:
        """Why nothing is to be learnt while it lasts, from purchases that are sound."""
        return holds(self.freshness, self.quality)

    def weekly(self) -> list[Finding]:
        """Of each feature the finding of a week: what is shown as its score."""
        return [finding for finding in self.drift if finding.days == WEEK and finding.kind == FEATURE]

    def latest(self, kind: str, *, matured: bool) -> Period | None:
        """This model's latest period of a kind; `matured`: that has realized figures, from as good as all of it."""
        mine = [each for each in self.periods if each.model_version == self.model_version and each.kind == kind]
        if matured:
            mine = [each for each in mine if each.realized is not None and each.matured_share >= NEARLY_ALL]
        return max(mine, key=lambda each: each.first_day, default=None)


NEARLY_ALL = 0.99
"""Share of a period that has matured before its realized figures are shown as those of the period: before that, plans
of four payments speak for those of six. Those that take longer nobody waits for (lent.py)."""


def concerns(look: Look) -> dict[Concern, list[str]]:
    """What the look amounts to, each with its reasons; empty: nothing.

    Drift together with broken input is most likely the broken input's: a training should wait until that is mended.
    """
    found: dict[Concern, list[str]] = {
        Concern.DRIFT: [str(finding) for finding in look.drifted],
        Concern.PERFORMANCE_LOSS: [str(loss) for loss in look.lost],
        Concern.BROKEN_INPUT: [*look.taints, *look.holds],
        Concern.SILENT_SOURCE: silences(look.quality),
    }
    return {concern: reasons for concern, reasons in found.items() if reasons}
