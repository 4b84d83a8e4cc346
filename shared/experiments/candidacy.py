"""A challenger's way from the shadow over the canary into service: where it stands, and how it got there.

It lies in the same document as what is tried (`Trials`), so that a step and what the step changes in the shadow or in
the experiment are one write. Only a promotion and a rollback need a second one, to the pointer of the model in service:
they are written down first, as a stage of their own, and carried out then. Whoever looks next finishes what a crash has
left.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import Any

import msgspec


class Stage(StrEnum):
    SHADOW = "shadow"
    """Answers beside each decision."""
    CANARY = "canary"
    """Decides for a share of the customers."""
    PROMOTING = "promoting"
    """To be put in service, if what it was judged against still is."""
    PROBATION = "probation"
    """In service, with the model before it in shadow."""
    ROLLING_BACK = "rolling back"
    """To be taken out of service, if nobody has done so."""
    CONFIRMED = "confirmed"
    """In service for good."""
    OUTDATED = "outdated"
    """Another model was put in service by hand, or a newer candidate took its place: it may be judged again."""
    WITHDRAWN = "withdrawn"
    """Taken out before it was in service. For good, but for a person."""
    ROLLED_BACK = "rolled back"
    """Taken out of service. For good, but for a person."""


ENDED = frozenset({Stage.CONFIRMED, Stage.OUTDATED, Stage.WITHDRAWN, Stage.ROLLED_BACK})
FAILED = frozenset({Stage.WITHDRAWN, Stage.ROLLED_BACK})
"""Who ended so doesn't come back by itself."""


class Step(msgspec.Struct, frozen=True):
    stage: Stage
    """That it led to."""
    at: str
    by: str
    reasons: list[str]


class Stricter(msgspec.Struct, frozen=True):
    """How much stricter than the champion a candidate was as it passed the gates: shares of customers, 0 where it is no
    stricter. They found that it earns more so; guardrails look for what goes beyond it."""

    declined: float = 0.0
    """More declined."""
    not_approved: float = 0.0
    """Fewer approved: declined, or for a person to review."""


def canary_name(version: str) -> str:
    """Of the experiment in which a candidate decides."""
    return f"ladder-{version}"


class Candidacy(msgspec.Struct, frozen=True):
    version: str
    champion: str
    """The version in service that it is judged against; after the promotion, the one to return to."""
    switched_at: str
    """When the pointer of the model in service was moved last, as far as this candidacy knows: who finds another time
    there knows that somebody else has moved it since."""
    steps: list[Step]
    """The first entered it, the last led to where it stands."""
    canary: str | None = None
    """When the experiment began in which it decides, as the experiment itself says."""
    evidence: dict[str, float] = {}
    """What the last look found."""
    stricter: Stricter = Stricter()

    @property
    def stage(self) -> Stage:
        return self.steps[-1].stage

    @property
    def since(self) -> str:
        return self.steps[-1].at

    @property
    def ended(self) -> bool:
        return self.stage in ENDED

    def moved(self, stage: Stage, at: str, by: str, reasons: Sequence[str], **changes: Any) -> Candidacy:
        """One step further; `changes`: of other fields."""
        return msgspec.structs.replace(self, steps=[*self.steps, Step(stage, at, by, list(reasons))], **changes)
