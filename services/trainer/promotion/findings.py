"""Whether a candidate is worse than the other model on the same purchases. Pure.

As with an experiment's guardrails, evidence may be looked at at any time: together the findings of one look throw out a
candidate that is no worse in at most a share `alpha` of all stages, however often somebody looks.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import log

import numpy as np
from numpy.typing import NDArray

from services.trainer.evaluate import Economics, earnings
from services.trainer.experiments import evidence
from services.trainer.experiments.exposures import APPROVE, DECLINE
from services.trainer.experiments.guardrails import (
    APPROVAL_BY_GROUP,
    CALIBRATION,
    DECLINES,
    TESTS,
    Finding,
    groups_of,
)
from services.trainer.experiments.limits import Limits
from services.trainer.promotion.pairs import Pairs

LOG_LOSS, PROFIT, FAILURES = "log-loss", "profit", "failures"
FINDINGS = (DECLINES, APPROVAL_BY_GROUP, LOG_LOSS, PROFIT, CALIBRATION, FAILURES)

MOST_FAILED = 0.05
"""Share of the customers for whom the candidate was to decide, and something else had to: one process of twenty without
it, or one kind of purchase that it can't bear."""

MOST_NATS = 1.0
"""To which a difference of log-losses is cut, since bets need bounds. Two models that differ by more on a purchase
differ by a factor of e in what they say of it."""


def findings(
    seen: Pairs, limits: Limits, economics: Economics, alpha: float, *, candidate_decides: bool
) -> list[Finding]:
    """`limits`: of the guardrails. `candidate_decides`: as after its promotion, else it is the one in shadow."""
    alpha /= len(FINDINGS)
    firsts = seen.first_of_customers()
    sides = (firsts.deciding, firsts.beside) if candidate_decides else (firsts.beside, firsts.deciding)
    verdicts = [side.verdict for side in sides]
    known = firsts.take((verdicts[0] != "") & (verdicts[1] != ""))
    mine, other = [known.deciding, known.beside] if candidate_decides else [known.beside, known.deciding]
    matured = seen.matured.first_of_customers()
    found = [
        _more("declined", DECLINES, mine.verdict == DECLINE, other.verdict == DECLINE, limits.declines, -log(alpha)),
        _worst_group(known, mine.verdict != APPROVE, other.verdict != APPROVE, limits.approval_by_group, alpha),
    ]
    gained = matured.log_loss_gained(candidate_decides=candidate_decides)
    found.append(_worse(LOG_LOSS, -gained, MOST_NATS, alpha, f"log-loss lower by {_mean(gained):.4g}"))
    if candidate_decides:
        # Of a candidate in shadow nobody learns what it alone would have approved: only what it would have turned away
        # of the champion's choice, which tells half.
        earned = profit_gained(matured, economics)
        # Each purchase counts alike: amounts have no bound.
        most = max(economics.margin_on_good, economics.loss_on_default)
        what = f"what it alone approves earned {_mean(earned):+.4g} of each amount"
        found.append(_worse(PROFIT, -earned, most, alpha, what))
    found.append(_calibration(matured, limits.miscalibration, alpha, candidate_decides=candidate_decides))
    return found


def failures(failed: NDArray[np.bool_], alpha: float) -> Finding:
    """`failed`: of each customer's first decision that was to be the candidate's, whether it wasn't."""
    what = f"not decided by it: {int(failed.sum())} of {len(failed)} customers, {MOST_FAILED:.0%} allowed"
    found = evidence.of_mean(failed.astype(np.float64), MOST_FAILED)
    return Finding(FAILURES, "candidate", found, -log(alpha / len(FINDINGS)), what, len(failed))


def profit_gained(matured: Pairs, economics: Economics) -> NDArray[np.float64]:
    """Of each purchase that the candidate decided, as a share of its amount: what it earned that the other would have
    turned away, and nothing where both approve."""
    alone = (matured.deciding.verdict == APPROVE) & (matured.beside.verdict != APPROVE)
    return np.where(alone, earnings(matured.defaulted, economics), 0.0)


def _more(
    what: str, name: str, mine: NDArray[np.bool_], other: NDArray[np.bool_], limit: float, needed: float
) -> Finding:
    found = evidence.of_mean(mine.astype(np.float64) - other, limit)
    said = (
        f"{what}: {int(mine.sum())} of {len(mine)} customers by the candidate, {int(other.sum())} by the other, "
        f"{limit:.1%} more allowed"
    )
    return Finding(name, "candidate", found, needed, said, len(mine))


def _worst_group(
    known: Pairs, mine: NDArray[np.bool_], other: NDArray[np.bool_], limit: float, alpha: float
) -> Finding:
    """Half of the false alarms for the age brackets together, half for the states."""

    def groups() -> Iterator[Finding]:
        for dimension, tests in TESTS.items():
            column = groups_of(known, dimension)
            for group in np.unique(column):
                what = f"not approved of {dimension.replace('_', ' ')} {group}"
                rows = column == group
                yield _more(what, APPROVAL_BY_GROUP, mine[rows], other[rows], limit, -log(alpha / 2 / tests))

    nobody = Finding(APPROVAL_BY_GROUP, "candidate", 0.0, -log(alpha), "nobody was decided on", 0)
    return max(groups(), key=lambda each: each.evidence - each.needed, default=nobody)


def _worse(name: str, lost: NDArray[np.float64], most: float, alpha: float, what: str) -> Finding:
    found = evidence.of_mean(np.clip(lost / most, -1.0, 1.0))
    return Finding(name, "candidate", found, -log(alpha), f"{what} on {len(lost)} matured customers", len(lost))


def _calibration(matured: Pairs, tolerance: float, alpha: float, *, candidate_decides: bool) -> Finding:
    said = (matured.deciding if candidate_decides else matured.beside).probability
    more, fewer = evidence.of_miscalibration(said, matured.defaulted == 1, tolerance)
    what = f"{int(matured.defaulted.sum())} defaults of {len(matured)} matured customers, {said.sum():.1f} expected"
    return Finding(CALIBRATION, "candidate", max(more, fewer), -log(alpha / 2), what, len(matured))


def _mean(values: NDArray[np.float64]) -> float:
    return float(values.mean()) if len(values) else 0.0
