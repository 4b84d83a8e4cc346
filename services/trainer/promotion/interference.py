"""What a person, or the guard, has done to a candidacy since the last look. It always stands: the candidacy ends.
Pure."""

from __future__ import annotations

from collections.abc import Sequence

from shared.experiments import Candidacy, Ended, Stage, Trials
from shared.model_artifact.registry import Pointer


def interference(
    candidacy: Candidacy, trials: Trials, current: Pointer | None, ended: Sequence[Ended]
) -> tuple[Stage, str] | None:
    """How the candidacy ends, and why; None where nobody has touched it. `ended`: experiments under the canary's name.
    Of the stages that wait for somebody to finish them, finishing sees to it."""
    version = candidacy.version
    serving = current.version if current else None
    if candidacy.stage is Stage.PROBATION:
        if current is not None and (serving, current.promoted_at) == (version, candidacy.switched_at):
            if candidacy.champion in trials.shadow:
                return None
            return Stage.OUTDATED, f"{candidacy.champion} is not in shadow: there is nothing to compare it with"
        if serving == candidacy.champion:
            return Stage.ROLLED_BACK, f"{serving} was put back in service{_by(current)}"
        if serving == version:
            return Stage.OUTDATED, "it was taken out of service and put back by hand: the ladder has no say any more"
        return Stage.OUTDATED, f"{serving or 'nothing'} was put in service{_by(current)}"
    if candidacy.stage not in (Stage.SHADOW, Stage.CANARY):
        return None
    if serving == version:
        return Stage.OUTDATED, f"it was put in service{_by(current)}, past the ladder"
    if serving != candidacy.champion:
        return Stage.OUTDATED, f"{serving or 'nothing'} is in service instead of {candidacy.champion}{_by(current)}"
    if candidacy.stage is Stage.CANARY and trials.canary_of(candidacy) is None:
        how = [f"by {each.by}: {each.why}" for each in ended if each.experiment.started_at == candidacy.canary]
        return Stage.WITHDRAWN, f"its canary was stopped {how[-1] if how else 'by hand'}"
    if version not in trials.shadow:
        return Stage.WITHDRAWN, "it was taken out of the shadow by hand"
    return None


def _by(pointer: Pointer | None) -> str:
    return f" by {pointer.by}" if pointer else ""
