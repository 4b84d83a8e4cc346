"""One look at whoever is on the ladder: at most one step, and an answer that says what is missing."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from services.trainer.experiments.exposures import Exposures
from services.trainer.promotion.interference import interference
from services.trainer.promotion.judgement import Action, Judge, Ruling
from services.trainer.promotion.ladder import CandidacyMoved, Ladder, LadderRefused
from shared.contracts.identity import epoch_micros
from shared.experiments import Candidacy, Stage, canary_name
from shared.feature_definitions.windows import MICROS_PER_SECOND
from shared.model_artifact.manifest import ArtifactRefused
from shared.model_artifact.registry import ModelRegistry, PromotionConflict

Seen = Callable[[int, int], Exposures]
"""The decisions made in [since, until), microseconds by the wall clock."""

NOT_FURTHER = ("a look that lets it further",)
"""What is missing where a look may only take out."""


@dataclass(frozen=True)
class Look:
    """What one look has found and done."""

    version: str | None = None
    before: Stage | None = None
    after: Stage | None = None
    reasons: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    evidence: dict[str, float] = field(default_factory=dict)
    moved: Candidacy | None = None
    """After the step, where there was one."""

    @property
    def switched(self) -> bool:
        """Another model is in service than before."""
        return self.stepped and self.after in (Stage.PROBATION, Stage.ROLLED_BACK)

    @property
    def stepped(self) -> bool:
        return self.before != self.after

    def answer(self) -> dict[str, Any]:
        """For the command line."""
        return {
            "candidate": self.version,
            "stage": self.after,
            "step": f"{self.before} → {self.after}" if self.stepped else None,
            "why": list(self.reasons),
            "missing": list(self.missing),
            "evidence": self.evidence,
        }


class Looking:
    """`now`: the wall clock, by which decisions are timed."""

    def __init__(
        self,
        registry: ModelRegistry,
        ladder: Ladder,
        judge: Judge,
        seen: Seen,
        now: Callable[[], int] = lambda: time.time_ns() // 1000,
    ) -> None:
        self._registry, self._ladder, self._judge, self._seen, self._now = registry, ladder, judge, seen, now

    def look(self, *, further: bool = True) -> Look:
        """`further`: not only out; one in shadow isn't looked at then. Raises WarehouseUnavailable, RegistryAway,
        ArtifactRefused, and LadderRefused where somebody else was faster: nothing was done then, or what was begun is
        finished by the next look."""
        candidacy = self._ladder.candidacy
        if candidacy is None or candidacy.ended:
            candidacy = self._ladder.succeed()
        if candidacy is None:
            return Look(reasons=("nobody is on the ladder",))
        if not further and candidacy.stage is Stage.SHADOW:
            return Look(candidacy.version, candidacy.stage, candidacy.stage, missing=NOT_FURTHER)
        try:
            after, ruling = self._moved(candidacy, further=further)
        except (LadderRefused, PromotionConflict) as refused:
            after, ruling = candidacy, Ruling(Action.WAIT, (), (str(refused),))
        moved = after if after.stage is not candidacy.stage else None
        return Look(
            candidacy.version, candidacy.stage, after.stage, ruling.reasons, ruling.missing, ruling.evidence, moved
        )

    def _moved(self, candidacy: Candidacy, *, further: bool) -> tuple[Candidacy, Ruling]:
        if candidacy.stage is Stage.PROMOTING and not further:
            return candidacy, Ruling(Action.WAIT, (), NOT_FURTHER)
        if candidacy.stage in (Stage.PROMOTING, Stage.ROLLING_BACK):
            after = self._finished(candidacy)
            return after, Ruling(Action.ON, tuple(after.steps[-1].reasons))
        trials = self._registry.trials()
        touched = interference(
            candidacy,
            trials,
            self._registry.pointer("current"),
            self._registry.ended_experiments(canary_name(candidacy.version)),
        )
        if touched is not None:
            stage, why = touched
            return self._ladder.end(candidacy, stage, [why]), Ruling(Action.OUT, (why,))
        # On probation the one to return to has to be whole first.
        serves = candidacy.stage is Stage.PROBATION
        try:
            self._registry.load(candidacy.champion if serves else candidacy.version).must_explain()
        except ArtifactRefused as refused:
            why = f"integrity: {refused}"
            ends = Stage.OUTDATED if serves else Stage.WITHDRAWN
            return self._ladder.end(candidacy, ends, [why]), Ruling(Action.OUT, (why,))
        if serves:
            try:
                self._registry.load(candidacy.version)
            except ArtifactRefused as refused:
                # Scorers go on with it until they start anew, and have none then.
                why = f"integrity: {refused}"
                return self._ladder.to_rollback(candidacy, [why]), Ruling(Action.OUT, (why,))
        ruling = self._ruling(candidacy)
        if ruling.action is Action.ON and not further:
            ruling = replace(ruling, action=Action.WAIT, missing=NOT_FURTHER)
        return self._carried_out(candidacy, ruling), ruling

    def _ruling(self, candidacy: Candidacy) -> Ruling:
        settled_us = int(self._judge.requirements.settle_seconds * MICROS_PER_SECOND)
        since_us, until_us = epoch_micros(candidacy.since) + settled_us, self._now()
        if until_us <= since_us:
            return Ruling(Action.WAIT, (), ("scorers may not know of the last step yet",), candidacy.evidence)
        seen = self._seen(since_us, until_us)
        if candidacy.stage is Stage.SHADOW:
            return self._judge.in_shadow(seen, candidacy)
        if candidacy.stage is Stage.PROBATION:
            return self._judge.on_probation(seen, candidacy)
        experiment = self._registry.trials().canary_of(candidacy)
        if experiment is None:
            raise CandidacyMoved(candidacy.version)
        return self._judge.in_canary(seen.of_arms(experiment), candidacy, experiment)

    def _carried_out(self, candidacy: Candidacy, ruling: Ruling) -> Candidacy:
        candidacy = self._ladder.note(candidacy, ruling.evidence)
        if ruling.action is Action.WAIT:
            return candidacy
        if ruling.action is Action.OUT:
            if candidacy.stage is Stage.PROBATION:
                return self._ladder.to_rollback(candidacy, ruling.reasons)
            return self._ladder.end(candidacy, Stage.WITHDRAWN, ruling.reasons)
        if candidacy.stage is Stage.SHADOW:
            return self._ladder.to_canary(candidacy, self._judge.requirements.canary_share, ruling.reasons)
        if candidacy.stage is Stage.CANARY:
            return self._ladder.to_promotion(candidacy, ruling.reasons)
        return self._ladder.confirm(candidacy, ruling.reasons)

    def _finished(self, candidacy: Candidacy) -> Candidacy:
        try:
            return self._ladder.finish(candidacy)
        except ArtifactRefused as refused:
            if candidacy.stage is Stage.PROMOTING:  # damaged since it was in the canary
                return self._ladder.end(candidacy, Stage.WITHDRAWN, [f"integrity: {refused}"])
            # Nothing to return to: a person has to choose, and is told.
            return self._ladder.end(candidacy, Stage.OUTDATED, [f"not rolled back: {refused}"])
