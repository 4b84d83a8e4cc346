"""Whether what a model sees is sound: fresh, complete, the same when it is computed again. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from services.trainer.monitoring.alarms import FEATURE, WEEK, Finding
from services.trainer.monitoring.silence import Silence
from services.trainer.monitoring.tiles import Tile
from shared.contracts.identity import from_epoch_micros
from shared.deciding.pipeline import Degraded

AGE_QUANTILES = (0.5, 0.95, 0.99)

MOST_DEAD = 0.05
"""Dead letters for each decision: one producer out of twenty gone wrong. Clean streams have none."""

MOST_MISSING = 0.2
"""By how much the share of purchases without a value may rise: then a source no longer sends a field."""

MOST_DEGRADED = 0.2
"""Share that a fallback decided though there was a model, for the vector's sake: it was made by another version of the
features. Where no model is in service, or it fails, nothing is wrong with the input; and what is answered while a past
is made anew is on no topic, and so not here."""
_THE_MODELS = frozenset({Degraded.NO_MODEL, Degraded.MODEL_FAILED})

MOST_LACKING, SOME_LACKING = 0.02, 20
"""Share of the loans that have run their course of which nobody has told how, and how many of them at least: then the
source of outcomes is in trouble, and a default shows weeks before a good loan does. Of so many at least, too, where it
tells nothing any more."""

MOST_MISMATCHED = 0.001
"""Share of vectors that a recomputation didn't confirm; it should be none."""


@dataclass(frozen=True)
class Freshness:
    """Of the decisions of the last week. Ages from the purchase to its decision, by their own times: in a replay of
    history they are years."""

    decisions: int
    age_s: Mapping[float, float]
    """Quantile to seconds; empty where nothing was decided."""
    degraded_share: float
    degraded: Mapping[str, int]
    """Why, to how many."""

    @property
    def despite_model_share(self) -> float:
        """Share that a fallback decided though a model could have."""
        despite = sum(count for why, count in self.degraded.items() if why not in _THE_MODELS)
        return despite / max(self.decisions, 1)


@dataclass(frozen=True)
class Quality:
    """Of the purchases of the last week."""

    decisions: int
    dead_letters: Mapping[str, int]
    """Reason to how many, received while these purchases were decided."""
    recomputed: int
    """Vectors of these purchases that were computed again (`reprocess`)."""
    mismatch_share: float | None
    """Of those, how many came out otherwise; None: nothing was computed again."""
    outcomes_lacking: int
    """Loans that have run their course lately, and nobody has told how, though their source has told later."""
    loans_over: int = 0
    """All that have, and their source has told later."""
    silent: tuple[Silence, ...] = ()
    """Sources that haven't."""

    @property
    def dead_share(self) -> float:
        return sum(self.dead_letters.values()) / max(self.decisions, 1)


def freshness_of(week: Tile) -> Freshness:
    ages = {share: age for share in AGE_QUANTILES if (age := week.age_quantile(share)) is not None}
    fallback = sum(week.degraded.values())
    return Freshness(week.decided, ages, fallback / max(week.decided, 1), dict(week.degraded))


def holds(freshness: Freshness, quality: Quality) -> list[str]:
    """What speaks against learning now, in words, though what did come in is sound: it is over when it is over."""
    found = []
    if quality.dead_share > MOST_DEAD:
        found.append(f"{sum(quality.dead_letters.values())} dead letters for {quality.decisions} decisions")
    if freshness.despite_model_share > MOST_DEGRADED:
        found.append(f"a fallback decided {freshness.despite_model_share:.0%}")
    lacking, over = quality.outcomes_lacking, quality.loans_over
    if lacking >= SOME_LACKING and lacking > MOST_LACKING * over:
        found.append(f"of {over:,} loans that have run their course {lacking:,} have no outcome")
    return found


def silences(quality: Quality) -> list[str]:
    """Sources that tell no outcomes any more, in words. Nothing of them is learnt from, so that it needn't wait; but
    nobody knows how their loans go."""
    return [
        f"source {each.source} has told of {_since(each)}: nobody knows how {each.loans:,} loans ended that have run "
        "their course lately"
        for each in quality.silent
        if each.loans >= SOME_LACKING
    ]


def _since(silence: Silence) -> str:
    return "nothing yet" if silence.since_us is None else f"nothing since {from_epoch_micros(silence.since_us)[:10]}"


def taints(drift: Iterable[Finding], quality: Quality) -> list[str]:
    """What speaks against ever learning from this week, in words: what came in is not what it should be."""
    found = []
    if quality.mismatch_share is not None and quality.mismatch_share > MOST_MISMATCHED:
        found.append(f"{quality.mismatch_share:.2%} of {quality.recomputed} vectors come out otherwise when recomputed")
    for each in drift:
        if each.kind != FEATURE or each.days != WEEK or each.missing is None or each.missing_before is None:
            continue
        if each.missing - each.missing_before > MOST_MISSING:
            found.append(f"{each.name} is missing in {each.missing:.0%}, {each.missing_before:.0%} before")
    return found
