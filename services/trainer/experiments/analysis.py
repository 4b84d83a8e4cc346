"""An experiment as figures: every arm, and every arm against the champion."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from services.trainer.evaluate import Economics, earnings, ece
from services.trainer.experiments import evidence, fixed
from services.trainer.experiments.evidence import Count
from services.trainer.experiments.exposures import APPROVE, Exposures
from services.trainer.experiments.guardrails import judge, ratio
from services.trainer.experiments.limits import Limits
from services.trainer.segments import UNKNOWN
from shared.experiments import CHAMPION, Experiment, arm_of

MIN_CALIBRATED = 50
"""Matured purchases below which a calibration error is noise alone."""

TRACE_POINTS = 40
"""Of the plotted course: enough to see a line move, few enough to be worked out in seconds."""

PERCENTILES = (50, 95, 99)
DIMENSIONS = {"age_bracket": "age bracket", "state": "state"}

Figures = dict[str, Any]


def analyse(
    exposures: Exposures, experiment: Experiment, limits: Limits, economics: Economics, alpha: float
) -> Figures:
    """JSON values. `alpha`: of each always-valid interval, which may be read at any time; those called `fixed` hold
    only where the end was set beforehand. `several_models`: of arms that more than one model decided, since another
    became champion meanwhile or the arm's own failed, how many each did: the arm's figures are of them all."""
    firsts = exposures.first_of_customers()
    counts, shares = ratio(firsts, experiment)
    names = [CHAMPION, *(arm.name for arm in experiment.arms)]
    arms = {name: _arm(exposures.of(name), economics) for name in names}
    by_model = {name: {model: n for model, n in arms[name]["models"].items() if model != UNKNOWN} for name in names}
    return {
        "experiment": experiment.name,
        "started_at": experiment.started_at,
        "decisions": len(exposures),
        "customers": len(firsts),
        "assignment": {
            "customers": counts,
            "planned": shares,
            "p_value": fixed.ratio_p(counts, shares),
            "evidence": evidence.of_ratio(counts, shares),
            **_stability(exposures, experiment),
        },
        "arms": arms,
        "several_models": {name: models for name, models in by_model.items() if len(models) > 1},
        "against_champion": {
            arm.name: _against(exposures, firsts, arm.name, economics, alpha) for arm in experiment.arms
        },
        "guardrails": [
            {
                "guardrail": each.guardrail,
                "arm": each.arm,
                "evidence": each.evidence,
                "needed": each.needed,
                "broken": each.broken,
                "what": each.what,
            }
            for each in judge(exposures, experiment, limits)
        ],
    }


def _stability(exposures: Exposures, experiment: Experiment) -> Figures:
    """Whether everybody stayed where the hash puts him."""
    crossed = {customer for customer, count in _arms_of_customers(exposures).items() if count > 1}
    misplaced = sum(
        arm != arm_of(experiment, customer) for customer, arm in zip(exposures.customer_id, exposures.arm, strict=True)
    )
    return {"customers_in_several_arms": len(crossed), "decisions_in_another_arm_than_the_hash_says": misplaced}


def _arms_of_customers(exposures: Exposures) -> dict[str, int]:
    pairs = {(str(customer), str(arm)) for customer, arm in zip(exposures.customer_id, exposures.arm, strict=True)}
    counts: dict[str, int] = {}
    for customer, _ in pairs:
        counts[customer] = counts.get(customer, 0) + 1
    return counts


def _arm(rows: Exposures, economics: Economics) -> Figures:
    """Of all decisions."""
    known = rows.approved_and_matured
    total = max(len(rows), 1)
    seconds = rows.latency_s[~np.isnan(rows.latency_s)]
    label = known.defaulted.astype(np.int8)
    earned = _profit(rows, economics)
    volume = float(rows.amount[~np.isnan(earned)].sum())
    return {
        "decisions": len(rows),
        "customers": len(set(rows.customer_id)),
        "models": {
            str(name): int(n)
            for name, n in zip(*np.unique(rows.model_version.astype(str), return_counts=True), strict=True)
        },
        "approved": float((rows.decision == APPROVE).sum() / total),
        "declined": float(rows.declined.sum() / total),
        "reviewed": float(((rows.decision != APPROVE) & ~rows.declined).sum() / total),
        "fallback": float(rows.degraded.sum() / total),
        "latency_ms": {f"p{p}": float(np.percentile(seconds, p) * 1000) for p in PERCENTILES} if len(seconds) else None,
        "approved_and_matured": len(known),
        "defaults": int(known.defaulted.sum()),
        "expected_defaults": float(known.probability.sum()),
        "calibration_error": ece(label, known.probability) if len(known) >= MIN_CALIBRATED else None,
        "profit_bp": float(np.nansum(earned) / volume * 10_000) if volume else None,
        "approved_by": {
            name: {
                str(group): {"approved": count.rate, "decisions": count.trials}
                for group, count in _groups(rows, dimension).items()
            }
            for dimension, name in DIMENSIONS.items()
        },
    }


def _against(exposures: Exposures, firsts: Exposures, arm: str, economics: Economics, alpha: float) -> Figures:
    """Differences, arm less champion, of customers: by their first decision, profit by all of theirs."""
    mine, champion = firsts.of(arm), firsts.of(CHAMPION)
    found: Figures = {
        "approved": _difference(
            mine.count(mine.decision == APPROVE), champion.count(champion.decision == APPROVE), alpha
        ),
        "declined": _difference(mine.count(mine.declined), champion.count(champion.declined), alpha),
    }
    earned = fixed.mean_difference(*(_profit_of_customers(exposures.of(name), economics) for name in (arm, CHAMPION)))
    found["profit_of_a_customer"] = None if earned is None else {"difference": earned[0], "fixed_95": list(earned[1])}
    found["approved_by"] = {
        name: {
            str(group): _difference(count, there, alpha)
            for group, count in _groups(mine, dimension).items()
            if (there := _groups(champion, dimension).get(group)) is not None
        }
        for dimension, name in DIMENSIONS.items()
    }
    return found


def _difference(one: Count, other: Count, alpha: float) -> Figures:
    interval = fixed.difference(one, other)
    return {
        "arm": one.rate,
        "champion": other.rate,
        "customers": [one.trials, other.trials],
        "always_valid": list(evidence.difference(one, other, alpha)),
        "fixed_95": None if interval is None else list(interval),
        "fixed_p": fixed.difference_p(one, other),
    }


def _groups(rows: Exposures, dimension: str) -> dict[str, Count]:
    values = getattr(rows, dimension).astype(str)
    return {
        str(group): Count(int((rows.decision[values == group] == APPROVE).sum()), int((values == group).sum()))
        for group in np.unique(values)
    }


def _profit(rows: Exposures, economics: Economics) -> NDArray[np.float64]:
    """[n] earned, in US dollars: nothing where not lent, NaN where not matured or not known.

    NaN too where a purchase that wasn't lent hasn't matured, though nothing is earned on it for certain: else the
    latest weeks would be those of purchases turned away alone, and the arm that turns away more would seem to lose by
    it.
    """
    earned = np.where(np.isnan(rows.defaulted), np.nan, earnings(rows.defaulted, economics) * rows.amount)
    return np.where(rows.matured, np.where(rows.lent, earned, 0.0), np.nan)


def _profit_of_customers(rows: Exposures, economics: Economics) -> NDArray[np.float64]:
    """Of each customer, over the purchases that have matured."""
    earned = _profit(rows, economics)
    known = ~np.isnan(earned)
    _, places = np.unique(rows.customer_id[known].astype(str), return_inverse=True)
    return np.asarray(np.bincount(places, weights=earned[known]) if known.any() else np.empty(0), dtype=np.float64)


def course(exposures: Exposures, arm: str, alpha: float) -> list[tuple[int, float, float, float]]:
    """(customers so far, difference of the decline rates, and its always-valid bounds), as it went."""
    firsts = exposures.first_of_customers()
    points = []
    for end in np.unique(np.linspace(1, len(firsts), TRACE_POINTS).astype(int)) if len(firsts) else []:
        seen = firsts.take(np.arange(end))
        one, other = (rows.count(rows.declined) for rows in (seen.of(arm), seen.of(CHAMPION)))
        low, high = evidence.difference(one, other, alpha)
        points.append((int(end), one.rate - other.rate, low, high))
    return points
