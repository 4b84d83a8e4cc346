"""The guardrails over whole experiments: false alarms under the null, and how soon a planted bad challenger is
found."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest

from services.trainer.experiments.exposures import Exposures
from services.trainer.experiments.guardrails import (
    APPROVAL_BY_GROUP,
    CALIBRATION,
    DECLINES,
    GUARDRAILS,
    LATENCY,
    SAMPLE_RATIO,
    judge,
)
from shared.experiments import Arm, Experiment
from tests.unit.trainer.experiments.traffic import LIMITS, Behaviour, an_experiment, traffic

LOOKS = 8
EXPERIMENTS = 80


def broken(exposures: Exposures, experiment: Experiment, looks: int = LOOKS) -> set[str]:
    """Guardrails that any of several looks calls broken."""
    found: set[str] = set()
    for end in np.linspace(len(exposures) / looks, len(exposures), looks).astype(int):
        seen = exposures.take(np.arange(end))
        found |= {each.guardrail for each in judge(seen, experiment, LIMITS) if each.broken}
    return found


def first_stopped(experiment: Experiment, behaviours: Mapping[str, Behaviour], seed: int, step: int, most: int) -> int:
    """After how many decisions, looked at every `step` of them."""
    whole = traffic(experiment, most, seed, behaviours)
    for end in range(step, most + 1, step):
        if any(each.broken for each in judge(whole.take(np.arange(end)), experiment, LIMITS)):
            return end
    raise AssertionError(f"not within {most} decisions")


@pytest.mark.parametrize(
    "conditions",
    [
        {},
        {"drift": 0.08},
        {"customers": 150, "stickiness": 0.9},
    ],
    ids=["plain", "rates that drift for everybody", "customers who come back and get what they got"],
)
def test_an_experiment_in_which_nothing_differs_is_hardly_ever_stopped(conditions: dict[str, float]) -> None:
    experiment = an_experiment(0.2)
    stopped = [
        seed
        for seed in range(EXPERIMENTS)
        if broken(traffic(experiment, 1200, seed, **conditions), experiment)  # type: ignore[arg-type]
    ]
    spread = 3 * (LIMITS.alpha * (1 - LIMITS.alpha) / EXPERIMENTS) ** 0.5
    assert len(stopped) / EXPERIMENTS <= LIMITS.alpha + spread


def test_an_arm_that_is_worse_by_no_more_than_it_may_is_hardly_ever_stopped() -> None:
    experiment, worst = an_experiment(0.3), {"canary": Behaviour(declines=0.15, slow=0.03)}
    stopped = [seed for seed in range(40) if broken(traffic(experiment, 2000, seed, worst), experiment, looks=4)]
    assert len(stopped) <= 4


@pytest.mark.parametrize(("share", "decisions"), [(0.5, 50), (0.2, 100), (0.05, 400)])
def test_an_arm_that_declines_nearly_everybody_is_found_within_so_many_decisions(share: float, decisions: int) -> None:
    """The figures of docs/operations/experiments.md."""
    found = [
        first_stopped(an_experiment(share), {"canary": Behaviour(declines=0.95)}, seed, step=10, most=1000)
        for seed in range(40)
    ]
    assert np.median(found) <= decisions
    assert max(found) <= 2.5 * decisions


@pytest.mark.parametrize(
    ("behaviour", "guardrail"),
    [
        (Behaviour(declines=0.30), DECLINES),
        (Behaviour(slow=0.25), LATENCY),
        (Behaviour(shift=1.2), CALIBRATION),
        (Behaviour(shift=-2.5), CALIBRATION),
        (Behaviour(declines_of_group=0.6), APPROVAL_BY_GROUP),
    ],
    ids=["declines", "slow", "too sure", "too careful", "declines the young"],
)
def test_each_guardrail_finds_what_it_is_there_for(behaviour: Behaviour, guardrail: str) -> None:
    experiment = an_experiment(0.5)
    for seed in range(5):
        exposures = traffic(experiment, 4000, seed, {"canary": behaviour})
        assert guardrail in broken(exposures, experiment, looks=4)


def test_an_assignment_that_loses_customers_of_one_arm_is_found() -> None:
    experiment = an_experiment(0.3)
    whole = traffic(experiment, 3000, 1)
    lost = (whole.arm == "canary") & (np.random.default_rng(1).random(len(whole)) < 0.5)
    assert broken(whole.take(~lost), experiment, looks=3) == {SAMPLE_RATIO}


def test_the_arms_of_the_hash_pass() -> None:
    for seed in range(20):
        found = judge(traffic(an_experiment(0.05, salt=f"s{seed}"), 3000, seed), an_experiment(0.05), LIMITS)
        assert not next(each for each in found if each.guardrail == SAMPLE_RATIO).broken


def test_a_customers_later_purchases_count_for_nothing() -> None:
    experiment = an_experiment(0.5)
    whole = traffic(experiment, 400, 1, customers=80)
    firsts = whole.first_of_customers()
    assert len(firsts) == len(set(whole.customer_id)) < len(whole)
    counted = {each.guardrail: each.evidence for each in judge(whole, experiment, LIMITS)}
    assert counted == {each.guardrail: each.evidence for each in judge(firsts, experiment, LIMITS)}


def test_every_arm_is_held_to_every_guardrail_and_needs_more_evidence_where_there_are_more() -> None:
    two = Experiment("trial", "s", [Arm("a", 0.2, "0" * 16), Arm("b", 0.3, "1" * 16)], "2026-06-01T12:00:00Z", "test")
    found = judge(traffic(two, 1000, 1, {"b": Behaviour(declines=0.9)}), two, LIMITS)
    assert [(each.arm, each.guardrail) for each in found if each.broken] == [("b", DECLINES), ("b", APPROVAL_BY_GROUP)]
    assert {each.guardrail for each in found if each.arm == "a"} == set(GUARDRAILS) - {SAMPLE_RATIO}
    one = next(
        each for each in judge(traffic(an_experiment(), 10, 1), an_experiment(), LIMITS) if each.guardrail == DECLINES
    )
    assert next(each for each in found if each.guardrail == DECLINES).needed > one.needed


def test_before_anybody_was_decided_on_nothing_is_broken() -> None:
    nobody = traffic(an_experiment(), 1, 1).take(np.zeros(1, dtype=bool))
    assert not [each for each in judge(nobody, an_experiment(), LIMITS) if each.broken]
