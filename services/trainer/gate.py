"""Whether a new model may take over: judged on the same hold-out as what it would replace, and always with reasons."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from services.trainer.evaluate import Economics, log_losses, numbered, profit_bp, weighted_mean, weighted_mean_error
from services.trainer.examples import Examples, TrainingRefused
from services.trainer.export import run_onnx
from shared.model_artifact.manifest import ArtifactFault, ArtifactRefused
from shared.model_artifact.registry import ModelRegistry
from shared.model_artifact.signing import SignerUnknown

INCOMPARABLE = "it is of another feature set, and these purchases have no features of that one"


@dataclass(frozen=True)
class Verdict:
    promote: bool
    reasons: tuple[str, ...]
    """One for each comparison, whichever way it went."""


@dataclass(frozen=True)
class Champion:
    version: str | None
    """What `current` names, readable or not: the value that a promotion must find unchanged."""
    probability: NDArray[np.float64] | None
    """[n] on the hold-out; None where there is no champion, or none that can be asked."""
    trouble: str | None = None
    """Why it can't be asked."""
    serves: bool = False
    """Though it can't be asked here, it may well answer customers. Then a person has to say so (`promote`): the gate
    doesn't replace what it can't beat."""

    @property
    def absent(self) -> bool:
        """Nobody to beat: no model is in service, or one that nobody can ask."""
        return self.probability is None and not self.serves

    @property
    def unasked(self) -> str:
        """Of one that wasn't asked: what a verdict says of that."""
        if self.serves:
            return f"champion {self.version} can't be compared: {self.trouble}"
        return f"no champion to beat: {self.trouble or 'no model is in service'}"


def ask_champion(
    registry: ModelRegistry, holdout: Examples, examples_of: Callable[[str], Examples] | None = None
) -> Champion:
    """What the model in service says of the hold-out.

    `examples_of`: the examples in another feature set. A champion of another set is asked with the features that it was
    trained for, on the same purchases; without them it can't be compared.
    """
    version = registry.current()
    if version is None:
        return Champion(None, None)
    try:
        files = registry.load(version)
        manifest = files.manifest
        if manifest.feature_set_version != holdout.feature_set_version:
            seen = _same_purchases(holdout, manifest.feature_set_version, examples_of)
            if seen is None:
                return Champion(version, None, INCOMPARABLE, serves=True)
        else:
            seen = holdout
        missing = set(manifest.feature_names) - set(seen.feature_names)
        if missing:
            raise ArtifactRefused(ArtifactFault.INCOMPATIBLE, f"it wants {sorted(missing)[0]}, which is made no more")
        raw = run_onnx(files.onnx, seen.columns(tuple(manifest.feature_names)))
    except ArtifactRefused as refused:
        return Champion(version, None, str(refused), serves=isinstance(refused, SignerUnknown))
    return Champion(version, manifest.calibration.apply(raw))


def _same_purchases(
    holdout: Examples, feature_set: str, examples_of: Callable[[str], Examples] | None
) -> Examples | None:
    """The hold-out's rows, in its order, with the features of another set; None where some have none."""
    if examples_of is None:
        return None
    try:
        others = examples_of(feature_set)
    except TrainingRefused:
        return None
    place = {event_id: i for i, event_id in enumerate(others.event_id)}
    rows = [place.get(event_id, -1) for event_id in holdout.event_id]
    return None if -1 in rows else others.take(np.array(rows))


def judge(holdout: Examples, challenger: NDArray[np.float64], champion: Champion, economics: Economics) -> Verdict:
    """The challenger takes over if it has the lower log-loss than the champion and earns more than the incumbent rule.

    Where there is no champion it does in any case: the alternative is no model at all, and the policy's fallback. Where
    there is one that can't be asked, the rule is left to beat. The comparison is paired (the same rows), and strict: a
    tie keeps what is in service. If the champion was trained on some of these rows, that favours the champion.
    """
    beats_rule, about_rule = _against_rule(holdout, challenger, economics)
    if champion.serves:
        return Verdict(False, (champion.unasked, about_rule))
    if champion.probability is None:
        return Verdict(champion.trouble is None or beats_rule, (champion.unasked, about_rule))
    gained = log_losses(holdout.label, champion.probability) - log_losses(holdout.label, challenger)
    mean = weighted_mean(gained, holdout.weight)
    error = weighted_mean_error(gained, holdout.weight, numbered(holdout.customer_id))
    better = mean > 0
    about_champion = (
        f"{'beats' if better else 'does not beat'} champion {champion.version}: "
        f"log-loss lower by {mean:.6f} (standard error {error:.6f}) on {len(gained)} rows"
    )
    return Verdict(better and beats_rule, (about_champion, about_rule))


def _against_rule(holdout: Examples, challenger: NDArray[np.float64], economics: Economics) -> tuple[bool, str]:
    """The rule that was there before any model: approve only what the source itself calls low risk. Where the source
    doesn't say, approve everything."""
    known = holdout.rule_approves >= 0
    rule = np.where(known, holdout.rule_approves == 1, True)
    volume = holdout.amount * holdout.weight
    earned = profit_bp(holdout.label, volume, challenger < economics.break_even, economics)
    by_rule = profit_bp(holdout.label, volume, rule, economics)
    name = "the low-risk rule" if known.all() else "approving everything"
    verb = "beats" if earned > by_rule else "does not beat"
    return earned > by_rule, f"{verb} {name}: {earned:.1f} against {by_rule:.1f} basis points of the volume"
