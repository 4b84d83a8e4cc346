"""What a lender loses who learns from what it approved alone: on the simulator, which also tells what was turned away.

A first model learns while everything is lent. Then it decides, and its successor learns from the next days: from what
was approved, from that and from a few would-be declines that were approved by chance and count for all of them, or (as
nobody but a simulator can) from everything. All are judged on everything that comes after.

Some minutes. The figures are printed (`-s`), for docs/explanation/selective-labels.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta

import numpy as np
import pytest
from numpy.typing import NDArray

from services.simulator.request import RegimeChange
from services.trainer.candidates import candidates_of
from services.trainer.evaluate import Economics, evaluate
from services.trainer.examples import Examples
from services.trainer.families import Conditions
from services.trainer.families.found import DEFAULT_FAMILIES
from services.trainer.split import temporal_split
from services.trainer.train import Trained, choose, learn
from shared.policy import load_policy
from tests.research.simulated import FIRST_DAY, simulated_history

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

DAYS, DAILY, SEED = 90, 3_000, 20260801
SHARE = 0.1
"""Of the would-be declines, approved by chance."""

ECONOMICS = Economics()
FIGURES = ("auc", "log_loss", "ece", "default_rate", "effective_rows")
Mask = NDArray[np.bool_]


def moment(day: int) -> datetime:
    return datetime.combine(FIRST_DAY, datetime.min.time()) + timedelta(days=day)


BAD_TIMES_THEN_GOOD_ONES = (
    RegimeChange(at=moment(0), kind="law", strength=1.0),
    RegimeChange(at=moment(DAYS // 3), kind="law", strength=0.0),
)
"""The first model learns when the odds of a default are twice as high, and other attributes tell them."""


def learnt(examples: Examples) -> Trained:
    return choose(learn(temporal_split(examples, 0.2, 0.05), candidates_of(DEFAULT_FAMILIES, Conditions(1, 1))))


def turned_away(model: Trained, examples: Examples) -> Mask:
    policy = load_policy()
    limit = float(policy.thresholds.decline_above / policy.loss_given_default)
    return np.asarray(model.probability(examples) > limit)


def seen_by(examples: Examples, declined: Mask) -> dict[str, Examples]:
    """What each way to lend leaves to learn from."""
    chosen = np.random.default_rng(SEED).random(len(examples)) < SHARE
    weighted = replace(examples, weight=np.where(declined, 1 / SHARE, 1.0))
    return {
        "everything": examples,
        "approved alone": examples.take(~declined),
        "and explored": weighted.take(~declined | chosen),
    }


@pytest.mark.parametrize("changes", [(), BAD_TIMES_THEN_GOOD_ONES], ids=["a steady world", "bad times, then good ones"])
def test_what_is_lost_without_exploration(changes: Sequence[RegimeChange]) -> None:
    examples = simulated_history("bnpl", DAYS, DAILY, SEED, changes).examples.ordered()
    days = (examples.occurred_us - examples.occurred_us[0]) // 86_400_000_000
    before, between, after = (
        examples.take((days >= DAYS // 3 * part) & (days < DAYS // 3 * (part + 1))) for part in range(3)
    )
    first = learnt(before)
    declined = turned_away(first, between)
    seen = seen_by(between, declined)
    print(f"\n{declined.mean():.3f} of {len(between)} would be declined, {between.label[declined].mean():.4f} default")

    # The first model, judged by what each way shows of it.
    judged = {name: evaluate(part, first.probability(part), ECONOMICS, 1) for name, part in seen.items()}
    for name, found in judged.items():
        figures = ", ".join(f"{figure} {found[figure]:.5g}" for figure in FIGURES)
        print(f"  first model on {name:15} {figures}")
    truth, alone, explored = (judged[name] for name in ("everything", "approved alone", "and explored"))
    assert explored["auc_low"] < truth["auc"] < explored["auc_high"]
    for figure in ("log_loss", "default_rate"):
        assert abs(explored[figure] - truth[figure]) < abs(alone[figure] - truth[figure])

    # Its successors, judged on everything that comes after.
    risky = turned_away(first, after)
    wrong, earned = {}, {}
    for name, part in seen.items():
        successor = learnt(part)
        probability = successor.probability(after)
        found = evaluate(after, probability, ECONOMICS, 1)
        wrong[name] = float(probability[risky].mean() - after.label[risky].mean())
        earned[name] = found["profit_bp"]
        print(
            f"  learnt from {name:15} AUC {found['auc']:.4f} log-loss {found['log_loss']:.5f} "
            f"profit {found['profit_bp']:.1f} bp, of the once declined: says {probability[risky].mean():.4f}, "
            f"default {after.label[risky].mean():.4f} ({successor.candidate.name})"
        )
    assert abs(wrong["and explored"]) < abs(wrong["approved alone"]) + 0.005
    assert earned["and explored"] > earned["approved alone"] - 3
