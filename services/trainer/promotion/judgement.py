"""What is to become of a candidate, from what was seen of it at its stage. Pure.

Three answers: on (everything asked for is there), out (it is worse, beyond what chance gives), or wait (something is
missing, and what).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

import numpy as np
from numpy.typing import NDArray

from services.trainer.evaluate import Economics
from services.trainer.experiments import guardrails
from services.trainer.experiments.exposures import Exposures
from services.trainer.experiments.guardrails import Finding
from services.trainer.experiments.limits import Limits
from services.trainer.gates.statistics import above_zero_p
from services.trainer.promotion.findings import failures, findings
from services.trainer.promotion.ladder import CANARY_ARM
from services.trainer.promotion.pairs import Pairs, days_of, pairs
from services.trainer.promotion.requirements import Requirements
from shared.experiments import CHAMPION, Candidacy, Experiment

NOISE = 0.05
"""One-sided: a candidate whose matured log-loss is so clearly worse waits, though it isn't thrown out yet."""


class Action(Enum):
    ON = "on"
    OUT = "out"
    WAIT = "wait"


@dataclass(frozen=True)
class Ruling:
    action: Action
    reasons: tuple[str, ...]
    missing: tuple[str, ...] = ()
    evidence: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Judge:
    """What all stages are judged by."""

    requirements: Requirements
    limits: Limits
    economics: Economics

    def in_shadow(self, seen: Exposures, candidacy: Candidacy) -> Ruling:
        both = pairs(seen, candidacy.champion, candidacy.version)
        limits = self.limits.beyond(candidacy.stricter)
        found = findings(both, limits, self.economics, self.requirements.alpha, candidate_decides=False)
        asked = self.requirements
        return _ruled(
            found,
            [
                _short("decisions beside the champion's", len(both), asked.shadow_decisions),
                _short("days in shadow", both.days, asked.shadow_days),
                _worse_so_far(both, candidate_decides=False),
            ],
            {"decisions": float(len(both)), "days": both.days, **_matured(both, candidate_decides=False)},
        )

    def in_canary(self, seen: Exposures, candidacy: Candidacy, experiment: Experiment) -> Ruling:
        """`seen`: of the experiment alone."""
        both = pairs(seen, candidacy.champion, candidacy.version)
        limits = self.limits.beyond(candidacy.stricter)
        found = [
            *guardrails.judge(seen, experiment, limits),
            *findings(both, limits, self.economics, self.requirements.alpha, candidate_decides=False),
        ]
        arm, asked = seen.of(CANARY_ARM), self.requirements
        # Where the candidate fails, or a scorer doesn't have it, the champion decides under the arm's name: guardrails
        # compare all of the arm, but it shows nothing by what it has not decided.
        found.append(failures(_not_by(arm, candidacy.version), asked.alpha))
        mine = arm.take(arm.model_version == candidacy.version)
        customers = len(set(mine.customer_id))
        days = days_of(mine.occurred_us)
        return _ruled(
            found,
            [
                _short("customers in the canary", customers, asked.canary_customers),
                _short("decisions in the canary", len(mine), asked.canary_decisions),
                _short("days in the canary", days, asked.canary_days),
                _worse_so_far(both, candidate_decides=False),
            ],
            {
                "decisions": float(len(mine)),
                "customers": float(customers),
                "days": days,
                **_matured(both, candidate_decides=False),
            },
        )

    def on_probation(self, seen: Exposures, candidacy: Candidacy) -> Ruling:
        both = pairs(seen, candidacy.version, candidacy.champion)
        limits = self.limits.beyond(candidacy.stricter)
        asked = self.requirements
        found = [
            *findings(both, limits, self.economics, asked.alpha, candidate_decides=True),
            # Of whoever is in no person's experiment: there other models decide. A scorer without the candidate decides
            # by the one before, or by a fallback. Decisions are read from the step on and the scorers' time to take it
            # over (looking.py), so that what the one before was still to decide isn't held against it.
            failures(_not_by(seen.of(CHAMPION), candidacy.version), asked.alpha),
        ]
        return _ruled(
            found,
            [
                _short("decisions with the one before beside it", len(both), asked.probation_decisions),
                _short("days on probation", both.days, asked.probation_days),
                _worse_so_far(both, candidate_decides=True),
            ],
            {"decisions": float(len(both)), "days": both.days, **_matured(both, candidate_decides=True)},
        )


def _not_by(seen: Exposures, version: str) -> NDArray[np.bool_]:
    """Of each customer's first decision of these that a model could have been asked for, whether it wasn't this one's:
    it failed, or the scorer didn't have it. Without a vector that models fit, no model is to blame."""
    firsts = seen.take(seen.failed | ~seen.degraded).first_of_customers()
    return np.asarray(firsts.failed | (firsts.model_version != version))


def _ruled(found: list[Finding], short: list[str | None], evidence: dict[str, float]) -> Ruling:
    broken = [each for each in found if each.broken]
    evidence = evidence | {f"{each.guardrail} evidence": round(each.evidence, 4) for each in found}
    if broken:
        return Ruling(Action.OUT, tuple(f"{each.guardrail}: {each.what}" for each in broken), (), evidence)
    missing = tuple(each for each in short if each is not None)
    told = tuple(f"{each.guardrail} kept: {each.what}" for each in found)
    return Ruling(Action.WAIT if missing else Action.ON, told, missing, evidence)


def _short(what: str, there: float, asked: float) -> str | None:
    return None if there >= asked else f"{what}: {there:.4g} of {asked:g}"


def _worse_so_far(both: Pairs, *, candidate_decides: bool) -> str | None:
    """Two on which evidence for ever is still out, but that nobody would take a step with."""
    matured = both.matured
    if len(matured) == 0:
        return None
    lost = -matured.log_loss_gained(candidate_decides=candidate_decides)
    p = above_zero_p(lost, np.ones(len(lost)))
    if p > NOISE:
        return None
    return f"a log-loss no worse than the other's: higher by {lost.mean():.4g} on {len(lost)} matured (p = {p:.2g})"


def _matured(both: Pairs, *, candidate_decides: bool) -> dict[str, float]:
    matured = both.matured
    figures = {"matured": float(len(matured))}
    if len(matured):
        figures["log-loss gained"] = float(matured.log_loss_gained(candidate_decides=candidate_decides).mean())
    return figures
