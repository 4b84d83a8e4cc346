"""The steps of a candidacy, as the registry keeps them.

Guarantee: each step is one compare-and-swap, which finds what was judged unchanged or changes nothing; what it changes
in the shadow and in the experiment is in the same write. A promotion and a rollback move a second document: they are
written down first, with the pointer that they have to find, and whoever looks next finishes them (`finish`) or sees
that somebody else has moved the pointer since, and leaves it alone. A person's promotion, rollback, shadow or
experiment always stands.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from datetime import UTC, datetime

import msgspec
import structlog

from shared.contracts.identity import canonical_time
from shared.experiments import FAILED, Arm, Candidacy, Experiment, Stage, Step, Stricter, Trials, canary_name
from shared.model_artifact.manifest import ArtifactRefused
from shared.model_artifact.registry import ModelRegistry, Pointer

log = structlog.get_logger()

CANARY_ARM = "canary"

LADDER = "ladder"
"""Who moves pointers and experiments for it."""

AS_STRICT = Stricter()
"""As the champion."""

IN_SERVICE = frozenset({Stage.PROBATION, Stage.ROLLING_BACK})


class LadderRefused(Exception):
    """A step that can't be taken; the text says why. Nothing was changed."""


class CandidacyMoved(LadderRefused):
    """The candidacy isn't what was judged: somebody else moved it meanwhile. Look again, then judge again."""

    def __init__(self, version: str) -> None:
        super().__init__(f"the candidacy of {version} was moved by somebody else meanwhile")


class Ladder:
    """Every method may raise ArtifactRefused and RegistryAway. `now`: canonical time."""

    def __init__(self, registry: ModelRegistry, now: Callable[[], str] | None = None) -> None:
        self._registry = registry
        self._now = now or (lambda: canonical_time(datetime.now(UTC)))

    @property
    def candidacy(self) -> Candidacy | None:
        return self._registry.trials().candidacy

    @property
    def climbing(self) -> list[Candidacy]:
        """Whoever is on the ladder: at most one, and beside one on probation at most one in shadow."""
        return self._registry.trials().climbing

    def enter(
        self,
        version: str,
        champion: str,
        reasons: Sequence[str],
        by: str,
        *,
        again: bool = False,
        stricter: Stricter = AS_STRICT,
    ) -> Candidacy:
        """Puts a version in shadow that was judged against `champion`, and found so much `stricter`. It takes the place
        of one that is still in shadow, and stands beside one that is on probation.

        Raises LadderRefused where one decides for a canary or is being switched, where another champion is in service,
        for the model that is kept to return to, and for a version that has failed before (`again`: a person wants it
        all the same).
        """
        if not again:
            self.check_return(version)
        self._registry.load(version).must_explain()
        pointer = self._registry.pointer("current")
        if pointer is None or pointer.version != champion:
            found = pointer.version if pointer else "nothing"
            raise LadderRefused(f"it was judged against {champion}, and {found} is in service now")
        climbing = self.climbing
        for each in climbing:
            if each.version == version or each.stage not in (Stage.SHADOW, Stage.PROBATION):
                raise LadderRefused(f"{each.version} is on the ladder already ({each.stage}): one at a time")
            if each.stage is Stage.PROBATION and each.champion == version:
                raise LadderRefused(f"{version} is the model to return to while {each.version} is on probation")
        at = self._now()
        replaced = [each for each in climbing if each.stage is Stage.SHADOW]
        ended = [each.moved(Stage.OUTDATED, at, by, [f"{version} took its place"]) for each in replaced]
        entered = Candidacy(
            version, champion, pointer.promoted_at, [Step(Stage.SHADOW, at, by, list(reasons))], stricter=stricter
        )
        beside = len(climbing) > len(replaced)

        def change(before: Trials) -> Trials:
            if before.climbing != climbing:
                raise CandidacyMoved(version)
            for each in replaced:
                before = without(before, each)
            shadow = [*(each for each in before.shadow if each != version), version]
            places = {"successor": entered} if beside else {"candidacy": entered, "successor": None}
            return msgspec.structs.replace(before, shadow=shadow, **places)

        self._registry.change_trials(change, ended=ended)
        for each in ended:
            self._told(each)
        return self._told(entered)

    def succeed(self) -> Candidacy | None:
        """The candidate that has answered beside a probation, in the place of the one whose probation is over; None
        where nobody waits for it. Whether it was judged against what is in service now, the next look sees, as of any
        other."""
        found = self._registry.trials()
        waiting = found.successor
        if waiting is None or found.climbing != [waiting]:
            return None

        def change(before: Trials) -> Trials:
            if before.climbing != [waiting] or before.successor != waiting:
                raise CandidacyMoved(waiting.version)
            return msgspec.structs.replace(before, candidacy=waiting, successor=None)

        self._registry.change_trials(change)
        log.info("candidacy_succeeds", version=waiting.version, stage=waiting.stage)
        return waiting

    def check_return(self, version: str) -> None:
        """Raises LadderRefused for a version that has failed: it doesn't come back by itself."""
        failed = [each for each in self._registry.ended_candidacies(version)[-1:] if each.stage in FAILED]
        if failed:
            why = "; ".join(failed[0].steps[-1].reasons)
            raise LadderRefused(f"{version} was {failed[0].stage} at {failed[0].since}, and stays so: {why}")

    def to_canary(self, judged: Candidacy, share: float, reasons: Sequence[str]) -> Candidacy:
        """Lets it decide for a share of the customers. Raises LadderRefused while a person's experiment runs."""
        at = self._now()
        arms = [Arm(CANARY_ARM, share, judged.version)]
        experiment = Experiment(canary_name(judged.version), secrets.token_hex(8), arms, at, LADDER)

        def change(before: Trials) -> Trials:
            if before.experiment is not None:
                raise LadderRefused(
                    f"the experiment {before.experiment.name} runs: the canary waits until it has ended"
                )
            return msgspec.structs.replace(before, experiment=experiment)

        return self._step(judged, judged.moved(Stage.CANARY, at, LADDER, reasons, canary=at), change)

    def to_promotion(self, judged: Candidacy, reasons: Sequence[str]) -> Candidacy:
        """Writes down that it is to be put in service, and does it. The champion goes in shadow, so that what comes can
        be compared with what would have been."""
        pointer = self._registry.pointer("current")
        if pointer is None or pointer.version != judged.champion:
            raise CandidacyMoved(judged.version)
        shadow = [judged.champion] if self._verifies(judged.champion) else []

        def change(before: Trials) -> Trials:
            kept = without(before, judged)
            return msgspec.structs.replace(kept, shadow=[*kept.shadow, *shadow])

        moved = judged.moved(Stage.PROMOTING, self._now(), LADDER, reasons, switched_at=pointer.promoted_at)
        return self.finish(self._step(judged, moved, change, why="promoted"))

    def to_rollback(self, judged: Candidacy, reasons: Sequence[str]) -> Candidacy:
        """Writes down that the model before is to be in service again, and puts it there."""
        return self.finish(self._step(judged, judged.moved(Stage.ROLLING_BACK, self._now(), LADDER, reasons)))

    def finish(self, judged: Candidacy) -> Candidacy:
        """What `to_promotion` and `to_rollback` have written down, carried out, if nobody has moved the pointer since:
        by them, or by whoever looks after a crash. Any other candidacy stays as it is. Raises PromotionConflict."""
        pointer = self._registry.pointer("current")
        untouched = pointer is not None and pointer.promoted_at == judged.switched_at
        if judged.stage is Stage.PROMOTING:
            if pointer is not None and pointer.version == judged.version:
                return self._on_probation(judged, pointer)
            if not untouched or pointer is None or pointer.version != judged.champion:
                return self.end(judged, Stage.OUTDATED, [f"{_named(pointer)} was put in service by hand"])
            self._registry.promote(
                judged.version, LADDER, expected=pointer, given=lambda trials: trials.candidacy == judged
            )
            return self._on_probation(judged, self._registry.pointer("current"))
        if judged.stage is Stage.ROLLING_BACK:
            if untouched and pointer is not None and pointer.version == judged.version:
                # By its name, and only in place of what was judged: `rollback` would bring back what somebody else has
                # rolled back meanwhile.
                self._registry.promote(judged.champion, LADDER, expected=pointer, withdrawing=True)
            return self.end(judged, Stage.ROLLED_BACK, judged.steps[-1].reasons)
        return judged

    def confirm(self, judged: Candidacy, reasons: Sequence[str]) -> Candidacy:
        """It stays in service; the model before is no longer asked."""
        return self.end(judged, Stage.CONFIRMED, reasons)

    def end(self, judged: Candidacy, stage: Stage, reasons: Sequence[str], by: str = LADDER) -> Candidacy:
        """Takes it off the ladder, and out of shadow and canary, as one write."""
        moved = judged.moved(stage, self._now(), by, reasons)
        return self._step(judged, moved, lambda before: without(before, judged), by=by, why="; ".join(reasons))

    def withdraw(self, reasons: Sequence[str], by: str, version: str | None = None) -> Candidacy:
        """Takes whoever is on the ladder off it, for good. Raises LadderRefused where nobody is, or not that `version`,
        where there are two and none is named, or where it is in service already: that is a rollback's affair."""
        climbing = self.climbing
        told = ", ".join(f"{each.version} ({each.stage})" for each in climbing)
        named = [each for each in climbing if version in (None, each.version)]
        if not named:
            raise LadderRefused("nobody is on the ladder" if not climbing else f"on the ladder: {told}")
        if len(named) > 1:
            raise LadderRefused(f"which one? On the ladder: {told}")
        (judged,) = named
        if judged.stage in IN_SERVICE:
            raise LadderRefused(f"{judged.version} is in service ({judged.stage}): `rollback` takes it out")
        return self.end(judged, Stage.WITHDRAWN, reasons, by)

    def note(self, judged: Candidacy, evidence: dict[str, float]) -> Candidacy:
        """Keeps what a look has found, without a step."""
        if judged.evidence == evidence:
            return judged
        noted = msgspec.structs.replace(judged, evidence=evidence)
        return self._write(judged, noted, lambda before: before)

    def _on_probation(self, judged: Candidacy, pointer: Pointer | None) -> Candidacy:
        if pointer is None or pointer.version != judged.version:
            raise CandidacyMoved(judged.version)
        reasons = judged.steps[-1].reasons
        return self._step(
            judged, judged.moved(Stage.PROBATION, self._now(), LADDER, reasons, switched_at=pointer.promoted_at)
        )

    def _step(
        self,
        judged: Candidacy,
        moved: Candidacy,
        change: Callable[[Trials], Trials] = lambda before: before,
        *,
        by: str = LADDER,
        why: str = "",
    ) -> Candidacy:
        return self._told(self._write(judged, moved, change, by=by, why=why))

    def _write(
        self,
        judged: Candidacy,
        moved: Candidacy,
        change: Callable[[Trials], Trials],
        *,
        by: str = LADDER,
        why: str = "",
    ) -> Candidacy:
        def checked(before: Trials) -> Trials:
            after = change(before).with_moved(judged, moved)
            if after is None:
                raise CandidacyMoved(judged.version)
            if moved.stage is Stage.WITHDRAWN and self._registry.current() == judged.version:
                raise LadderRefused(f"{judged.version} is in service already: `rollback` takes it out")
            return after

        self._registry.change_trials(checked, by=by, why=why)
        return moved

    def _told(self, moved: Candidacy) -> Candidacy:
        last = moved.steps[-1]
        log.info("candidacy_moved", version=moved.version, stage=last.stage, by=last.by, reasons=last.reasons)
        return moved

    def _verifies(self, version: str) -> bool:
        try:
            self._registry.load(version)
        except ArtifactRefused:
            return False
        return True


def without(trials: Trials, candidacy: Candidacy) -> Trials:
    """The trials less what the ladder has put there for this candidacy."""
    gone = {candidacy.version}
    if candidacy.stage in IN_SERVICE or candidacy.stage is Stage.PROMOTING:
        gone.add(candidacy.champion)
    return msgspec.structs.replace(
        trials,
        shadow=[each for each in trials.shadow if each not in gone],
        experiment=None if trials.canary_of(candidacy) else trials.experiment,
    )


def _named(pointer: Pointer | None) -> str:
    return pointer.version if pointer else "nothing"
