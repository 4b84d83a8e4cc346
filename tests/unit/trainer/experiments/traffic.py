"""Decisions of an experiment, made up: customers who come back, dealt to arms by the hash that scorers use."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from services.trainer.experiments import guardrails
from services.trainer.experiments.exposures import Exposures
from services.trainer.experiments.limits import Limits
from shared.experiments import CHAMPION, Arm, Experiment, arm_of

LIMITS = Limits(
    alpha=0.05,
    declines=0.05,
    slow=0.02,
    slow_seconds=0.5,
    miscalibration=0.3,
    approval_by_group=0.10,
)
AGES = ("18-24", "25-34", "35-44", "45-54", "55+")
STATES = tuple(sorted(guardrails.STATES))[:50]
MEAN_DEFAULT = 0.06


@dataclass(frozen=True)
class Behaviour:
    """Of one arm: what it does that the champion doesn't."""

    declines: float = 0.10
    declines_of_group: float = 0.0
    """More, of the youngest."""
    slow: float = 0.01
    shift: float = 0.0
    """How far the truth lies above what it says, in log-odds."""


def an_experiment(share: float = 0.1, salt: str = "salt", name: str = "trial") -> Experiment:
    return Experiment(name, salt, [Arm("canary", share, "0" * 16)], "2026-06-01T12:00:00.000000Z", "test")


def traffic(
    experiment: Experiment,
    decisions: int,
    seed: int,
    behaviours: Mapping[str, Behaviour] | None = None,
    *,
    customers: int = 100_000,
    drift: float = 0.0,
    stickiness: float = 0.0,
) -> Exposures:
    """`drift`: how much the decline rate of all arms moves, up and down again. `stickiness`: how often a customer's
    decision is simply the one before."""
    draws = np.random.default_rng(seed)
    known = behaviours or {}
    number = draws.integers(0, customers, decisions)
    customer = np.array([f"cust_{seed}_{each:06d}" for each in number], dtype=object)
    arm = np.array([arm_of(experiment, each) for each in customer], dtype=object)

    def of_arm(name: str) -> np.ndarray[Any, Any]:
        return np.array([getattr(known.get(each, Behaviour()), name) for each in arm], dtype=np.float64)

    age = np.array(AGES, dtype=object)[number % len(AGES)]
    moved = drift * np.sin(np.arange(decisions) / max(decisions / 12, 1))
    rate = of_arm("declines") + of_arm("declines_of_group") * (age == AGES[0]) + moved
    declined = draws.random(decisions) < rate
    last: dict[str, bool] = {}
    for i, each in enumerate(customer):
        if each in last and draws.random() < stickiness:
            declined[i] = last[each]
        last[each] = bool(declined[i])
    log_odds = draws.normal(np.log(MEAN_DEFAULT / (1 - MEAN_DEFAULT)), 0.6, decisions)
    truth = 1 / (1 + np.exp(-(log_odds + of_arm("shift"))))
    return Exposures(
        customer_id=customer,
        arm=arm,
        decision=np.where(declined, "decline", "approve").astype(object),
        declined=declined,
        own=np.where(declined, "decline", "approve").astype(object),
        lent=~declined,
        degraded=np.zeros(decisions, dtype=bool),
        failed=np.zeros(decisions, dtype=bool),
        model_version=np.where(arm == CHAMPION, "c" * 16, "0" * 16).astype(object),
        probability=1 / (1 + np.exp(-log_odds)),
        shadow=np.full(decisions, "[]", dtype=object),
        occurred_us=np.arange(decisions, dtype=np.int64),
        decided_us=np.arange(decisions, dtype=np.int64),
        latency_s=np.where(draws.random(decisions) < of_arm("slow"), 2.0, 0.02),
        amount=draws.uniform(20, 300, decisions),
        age_bracket=age,
        state=np.array(STATES, dtype=object)[number // len(AGES) % len(STATES)],
        defaulted=(draws.random(decisions) < truth).astype(np.float64),
        matured=np.ones(decisions, dtype=bool),
    )
