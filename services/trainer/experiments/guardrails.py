"""What an experiment must not do to customers, and how sure one has to be that it does. Pure.

Every guardrail compares an arm with the champion on the same days, and asks for evidence that may be looked at at any
time (`evidence`). Together they raise a false alarm in at most a share `alpha` of all experiments, however often
somebody looks: each has its part of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from math import log
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from services.trainer.experiments import evidence
from services.trainer.experiments.evidence import Count
from services.trainer.experiments.exposures import APPROVE, Exposures
from services.trainer.experiments.limits import Limits
from shared.contracts.enumerations import VALUES
from shared.experiments import CHAMPION, Experiment

if TYPE_CHECKING:
    from services.trainer.promotion.pairs import Pairs

SAMPLE_RATIO, DECLINES, LATENCY, CALIBRATION, APPROVAL_BY_GROUP = (
    "sample-ratio", "decline-rate", "latency", "calibration", "approval-by-group",
)  # fmt: skip
GUARDRAILS = (SAMPLE_RATIO, DECLINES, LATENCY, CALIBRATION, APPROVAL_BY_GROUP)

AGES = (*VALUES["customer", "age_bracket"], "unknown")
OTHERS = "others"
_STATES = (
    "AL AK AZ AR CA CO CT DE FL GA HI ID IL IN IA KS KY LA ME MD MA MI MN MS MO MT NE NV NH NJ NM NY NC ND OH OK OR PA "
    "RI SC SD TN TX UT VT VA WA WV WI WY DC AS GU MP PR VI AA AE AP unknown"
)
STATES = frozenset(_STATES.split())
"""Of the US, with its districts, territories and military addresses, as the post writes them. How many tests share the
part of the false alarms has to be fixed beforehand, and what a producer writes here is free text: what it writes else
is taken together."""


@dataclass(frozen=True)
class Finding:
    """One guardrail of one arm, as of now."""

    guardrail: str
    arm: str
    evidence: float
    """Natural logarithm, against the null that the limit is kept."""
    needed: float
    what: str
    """The figures, for people."""
    customers: int
    """How many of the arm it stands on."""

    @property
    def broken(self) -> bool:
        return self.evidence >= self.needed


def judge(exposures: Exposures, experiment: Experiment, limits: Limits) -> list[Finding]:
    """Every guardrail of every arm; of groups the one with the most evidence. `exposures`: all decisions."""
    firsts = exposures.first_of_customers()
    champion = firsts.of(CHAMPION)
    alpha = limits.alpha / len(GUARDRAILS)
    findings = [_sample_ratio(firsts, experiment, alpha)]
    for arm in experiment.arms:
        mine = firsts.of(arm.name)
        findings += _of_arm(mine, champion, arm.name, limits, alpha / len(experiment.arms))
    return findings


def _of_arm(mine: Exposures, champion: Exposures, arm: str, limits: Limits, alpha: float) -> Iterator[Finding]:
    def more(name: str, hits: Callable[[Exposures], NDArray[np.bool_]], limit: float, what: str) -> Finding:
        one, other = mine.count(hits(mine)), champion.count(hits(champion))
        found = evidence.of_excess(one, other, limit)
        return Finding(name, arm, found, -log(alpha), _compared(what, one, other, limit), one.trials)

    yield more(DECLINES, lambda rows: rows.declined, limits.declines, "declined")
    slow = f"slower than {limits.slow_seconds:g} s"
    yield more(LATENCY, lambda rows: rows.latency_s > limits.slow_seconds, limits.slow, slow)
    yield _calibration(mine, arm, limits.miscalibration, alpha)
    yield _groups(mine, champion, arm, limits.approval_by_group, alpha)


def _sample_ratio(firsts: Exposures, experiment: Experiment, alpha: float) -> Finding:
    counts, shares = ratio(firsts, experiment)
    found = evidence.of_ratio(counts, shares)
    names = [CHAMPION, *(arm.name for arm in experiment.arms)]
    what = ", ".join(
        f"{name} {count} of {sum(counts)} customers, planned {share:.1%}"
        for name, count, share in zip(names, counts, shares, strict=True)
        if share
    )
    return Finding(SAMPLE_RATIO, "all", found, -log(alpha), what, sum(counts))


def ratio(firsts: Exposures, experiment: Experiment) -> tuple[list[int], list[float]]:
    """Customers of the champion and of each arm, and the shares that were planned; without arms of no share."""
    shares = {arm.name: arm.share for arm in experiment.arms}
    rest = 1.0 - sum(shares.values())
    # Arms may take everybody; what is left by rounding is no share.
    planned = shares if rest < 1e-9 else {CHAMPION: rest, **shares}
    return [int((firsts.arm == name).sum()) for name in planned], list(planned.values())


def _calibration(mine: Exposures, arm: str, tolerance: float, alpha: float) -> Finding:
    known = mine.approved_and_matured
    more, fewer = evidence.of_miscalibration(known.probability, known.defaulted == 1, tolerance)
    said = float(known.probability.sum())
    what = f"{int(known.defaulted.sum())} defaults of {len(known)} approved and matured, {said:.1f} expected"
    return Finding(CALIBRATION, arm, max(more, fewer), -log(alpha / 2), what, len(known))


TESTS = {"age_bracket": len(AGES), "state": len(STATES) + 1}
"""How many groups a dimension may have."""


def groups_of(rows: Exposures | Pairs, dimension: str) -> NDArray[np.str_]:
    """[n] which group of the dimension each row is in."""
    said = getattr(rows, dimension).astype(str)
    return np.where(np.isin(said, [*STATES]), said, OTHERS) if dimension == "state" else said


def _groups(mine: Exposures, champion: Exposures, arm: str, limit: float, alpha: float) -> Finding:
    """Half of the false alarms for the age brackets together, half for the states."""
    worst: Finding | None = None
    for dimension, tests in TESTS.items():
        needed = -log(alpha / 2 / tests)
        groups = [groups_of(rows, dimension) for rows in (mine, champion)]
        for group in np.unique(groups[0]):
            one, other = (rows.take(of == group) for rows, of in zip((mine, champion), groups, strict=True))
            here, there = one.count(one.decision != APPROVE), other.count(other.decision != APPROVE)
            what = _compared(f"not approved of {dimension.replace('_', ' ')} {group}", here, there, limit)
            found = Finding(APPROVAL_BY_GROUP, arm, evidence.of_excess(here, there, limit), needed, what, here.trials)
            if worst is None or found.evidence - found.needed > worst.evidence - worst.needed:
                worst = found
    return worst or Finding(APPROVAL_BY_GROUP, arm, 0.0, -log(alpha), "nobody was decided on", 0)


def _compared(what: str, one: Count, other: Count, limit: float) -> str:
    return (
        f"{what}: {one.hits} of {one.trials} ({one.rate:.1%}) against the champion's {other.hits} of {other.trials} "
        f"({other.rate:.1%}), {limit:.1%} more allowed"
    )
