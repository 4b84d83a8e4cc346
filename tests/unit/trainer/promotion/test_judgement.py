from __future__ import annotations

from dataclasses import replace

import msgspec
import numpy as np
import pytest

from services.trainer.evaluate import Economics
from services.trainer.experiments.exposures import Exposures
from services.trainer.promotion.judgement import Action, Judge
from services.trainer.promotion.ladder import CANARY_ARM, LADDER
from services.trainer.promotion.pairs import pairs
from services.trainer.promotion.requirements import Requirements
from shared.contracts.identity import from_epoch_micros
from shared.experiments import Arm, Candidacy, Experiment, Stage, Step, Stricter, arm_of, canary_name
from shared.feature_definitions.windows import MICROS_PER_DAY
from tests.unit.trainer.experiments.traffic import LIMITS
from tests.unit.trainer.promotion.seen import CANDIDATE_VERSION, CHAMPION_VERSION, STARTED_US, decided

ASKED = Requirements(
    alpha=0.05,
    shadow_decisions=1000,
    shadow_days=7.0,
    canary_share=0.2,
    canary_customers=100,
    canary_decisions=150,
    canary_days=7.0,
    probation_decisions=1000,
    probation_days=14.0,
    settle_seconds=10.0,
)
JUDGE = Judge(ASKED, LIMITS, Economics())
STARTED = from_epoch_micros(STARTED_US)
EXPERIMENT = Experiment(
    canary_name(CANDIDATE_VERSION), "salt", [Arm(CANARY_ARM, 0.2, CANDIDATE_VERSION)], STARTED, LADDER
)


def candidacy(stage: Stage = Stage.SHADOW) -> Candidacy:
    return Candidacy(CANDIDATE_VERSION, CHAMPION_VERSION, STARTED, [Step(stage, STARTED, LADDER, [])])


def on_probation(rows: int = 3000, **behaviour: float) -> Exposures:
    return decided(rows, deciding=CANDIDATE_VERSION, beside=CHAMPION_VERSION, **behaviour)  # type: ignore[arg-type]


def in_canary(rows: int = 3000, **behaviour: float) -> Exposures:
    """The canary's customers by the candidate, all others by the champion."""
    champions, candidates = decided(rows, **behaviour), on_probation(rows, **behaviour)  # type: ignore[arg-type]
    arm = np.array([arm_of(EXPERIMENT, customer) for customer in champions.customer_id], dtype=object)
    mine = arm == CANARY_ARM

    def mixed(name: str) -> np.ndarray:
        return np.asarray(np.where(mine, getattr(candidates, name), getattr(champions, name)))

    names = ("decision", "declined", "own", "lent", "model_version", "probability", "shadow", "defaulted")
    return replace(champions, arm=arm, **{name: mixed(name) for name in names})


def test_a_better_candidate_goes_on_once_all_that_is_asked_for_is_there() -> None:
    ruling = JUDGE.in_shadow(decided(3000), candidacy())
    assert (ruling.action, ruling.missing) == (Action.ON, ())
    assert ruling.evidence["decisions"] == 3000
    assert ruling.evidence["log-loss gained"] > 0
    assert JUDGE.in_canary(in_canary(), candidacy(Stage.CANARY), EXPERIMENT).action is Action.ON
    assert JUDGE.on_probation(on_probation(), candidacy(Stage.PROBATION)).action is Action.ON


def test_what_is_missing_is_said_one_by_one() -> None:
    ruling = JUDGE.in_shadow(decided(400, days=2.0), candidacy())
    assert ruling.action is Action.WAIT
    assert ruling.missing == ("decisions beside the champion's: 400 of 1000", "days in shadow: 2 of 7")
    ruling = JUDGE.in_canary(in_canary(400, days=2.0), candidacy(Stage.CANARY), EXPERIMENT)
    assert [each.partition(":")[0] for each in ruling.missing] == [
        "customers in the canary", "decisions in the canary", "days in the canary",
    ]  # fmt: skip


def test_what_the_champion_decides_under_the_canarys_name_shows_nothing_of_the_candidate() -> None:
    """It fails, or scorers don't have it."""
    seen = in_canary()
    nobody = replace(seen, model_version=np.full(len(seen), CHAMPION_VERSION, dtype=object))
    ruling = JUDGE.in_canary(nobody, candidacy(Stage.CANARY), EXPERIMENT)
    assert ruling.action is Action.OUT
    assert ruling.reasons[0].startswith("failures: not decided by it")
    assert (ruling.evidence["decisions"], ruling.evidence["customers"]) == (0, 0)
    few = replace(seen, model_version=np.where(np.arange(len(seen)) % 50, seen.model_version, CHAMPION_VERSION))
    assert JUDGE.in_canary(few, candidacy(Stage.CANARY), EXPERIMENT).action is Action.ON


@pytest.mark.parametrize(("share", "action"), [(0.03, Action.ON), (0.1, Action.OUT)])
def test_one_that_fails_too_often_in_service_goes_back(share: float, action: Action) -> None:
    seen = on_probation()
    failed = np.random.default_rng(3).random(len(seen)) < share
    version = np.where(failed, "unknown", seen.model_version)
    ruling = JUDGE.on_probation(replace(seen, failed=failed, model_version=version), candidacy(Stage.PROBATION))
    assert ruling.action is action


@pytest.mark.parametrize(("share", "action"), [(0.03, Action.ON), (0.1, Action.OUT)])
def test_one_that_many_scorers_do_not_have_in_service_goes_back(share: float, action: Action) -> None:
    """They go on with the model before, which fails nowhere."""
    seen = on_probation()
    lacking = np.random.default_rng(3).random(len(seen)) < share
    version = np.where(lacking, CHAMPION_VERSION, seen.model_version)
    ruling = JUDGE.on_probation(replace(seen, model_version=version), candidacy(Stage.PROBATION))
    assert ruling.action is action
    assert action is Action.ON or ruling.reasons[0].startswith("failures: not decided by it")


def test_what_no_model_could_be_asked_about_is_held_against_none() -> None:
    """The customers' pasts are away for a while, or vectors come that are of another feature set."""

    def away(seen: Exposures) -> Exposures:
        which = np.random.default_rng(3).random(len(seen)) < 0.3
        return replace(seen, degraded=which, model_version=np.where(which, "none", seen.model_version))

    for ruling in (
        JUDGE.on_probation(away(on_probation()), candidacy(Stage.PROBATION)),
        JUDGE.in_canary(away(in_canary()), candidacy(Stage.CANARY), EXPERIMENT),
    ):
        assert ruling.action is Action.ON, ruling.reasons


def test_customers_of_a_persons_experiment_are_not_the_candidates_on_probation() -> None:
    seen = on_probation()
    others = np.arange(len(seen)) % 2 == 0
    tried = replace(
        seen,
        arm=np.where(others, "spring", seen.arm),
        model_version=np.where(others, "e" * 16, seen.model_version),
    )
    assert JUDGE.on_probation(tried, candidacy(Stage.PROBATION)).action is Action.ON


def test_a_purchase_that_comes_late_makes_no_days_of_one() -> None:
    half_a_day = decided(3000, days=0.5)
    late = half_a_day.occurred_us.copy()
    late[0] -= 15 * MICROS_PER_DAY
    assert JUDGE.in_shadow(replace(half_a_day, occurred_us=late), candidacy()).missing == ("days in shadow: 0.5 of 7",)


def test_before_anything_has_matured_a_candidate_may_go_on_and_nothing_is_said_of_its_log_loss() -> None:
    ruling = JUDGE.in_shadow(decided(3000, matured=False), candidacy())
    assert ruling.action is Action.ON
    assert ruling.evidence["matured"] == 0
    assert "log-loss gained" not in ruling.evidence


@pytest.mark.parametrize(
    ("behaviour", "guardrail"),
    [
        ({"candidate_shift": 1.5}, "decline-rate"),
        ({"against_youngest": 2.0}, "approval-by-group"),
        ({"candidate_shift": -1.5}, "calibration"),
        ({"candidate_noise": 1.5, "champion_noise": 0.1}, "log-loss"),
    ],
)
def test_a_candidate_that_is_worse_is_thrown_out_at_each_stage_and_the_reason_is_named(
    behaviour: dict[str, float], guardrail: str
) -> None:
    rulings = (
        JUDGE.in_shadow(decided(6000, **behaviour), candidacy()),  # type: ignore[arg-type]
        JUDGE.in_canary(in_canary(6000, **behaviour), candidacy(Stage.CANARY), EXPERIMENT),
        JUDGE.on_probation(on_probation(6000, **behaviour), candidacy(Stage.PROBATION)),
    )
    for ruling in rulings:
        assert ruling.action is Action.OUT
        named = {reason.partition(":")[0] for reason in ruling.reasons}
        # Where it decides itself, what it wrongly approves costs money before its log-loss shows it.
        assert named & {guardrail, *(["profit"] if guardrail == "log-loss" else [])}, ruling.reasons


def test_on_probation_what_it_alone_approves_has_to_pay() -> None:
    """It approves what the model before turned away, and half of that defaults."""
    seen = on_probation(3000, matured=False)
    beside = pairs(seen, CANDIDATE_VERSION, CHAMPION_VERSION).beside.verdict
    alone = (seen.decision == "approve") & (beside != "approve")
    assert alone.sum() > 50
    rows = np.arange(len(seen))
    losing = replace(
        seen, defaulted=np.where(alone, (rows % 2).astype(float), np.where(seen.decision == "approve", 0, np.nan))
    )
    ruling = JUDGE.on_probation(losing, candidacy(Stage.PROBATION))
    assert "profit" in [reason.partition(":")[0] for reason in ruling.reasons]


def test_a_candidate_no_worse_is_hardly_ever_thrown_out_however_often_one_looks() -> None:
    thrown_out = 0
    for seed in range(20):
        seen = decided(2000, seed, candidate_noise=0.3, champion_noise=0.3)
        looks = (seen.take(np.arange(end)) for end in (100, 300, 600, 1000, 1500, 2000))
        thrown_out += any(JUDGE.in_shadow(each, candidacy()).action is Action.OUT for each in looks)
    assert thrown_out <= 3  # of 20, where one is expected at most


def test_what_was_decided_by_a_limit_or_by_chance_says_nothing_of_either_model() -> None:
    seen = on_probation(3000)
    capped = replace(
        seen,
        decision=np.full(len(seen), "decline", dtype=object),
        own=np.full(len(seen), "", dtype=object),
        lent=np.zeros(len(seen), dtype=bool),
    )
    assert JUDGE.on_probation(capped, candidacy(Stage.PROBATION)).action is Action.ON


def test_pairs_are_of_what_the_one_decided_and_the_other_answered() -> None:
    seen = decided(100)
    seen.shadow[:40] = "[]"
    seen.model_version[90:] = "e" * 16
    both = pairs(seen, CHAMPION_VERSION, CANDIDATE_VERSION)
    assert len(both) == 50
    assert list(both.customer_id) == list(seen.customer_id[40:90])
    assert np.array_equal(both.deciding.probability, seen.probability[40:90])
    turned_away = both.deciding.verdict != "approve"
    assert np.isnan(both.defaulted[turned_away]).all(), "nobody learns what became of them"
    assert len(pairs(seen, CANDIDATE_VERSION, CHAMPION_VERSION)) == 0


def test_the_outcomes_of_pairs_are_of_what_was_lent_in_the_end_whoever_approved_it() -> None:
    seen = decided(100)
    approved, others = (np.flatnonzero(seen.lent == each) for each in (True, False))
    cancelled, reviewed = approved[0], others[0]
    seen.lent[cancelled], seen.lent[reviewed] = False, True
    both = pairs(seen, CHAMPION_VERSION, CANDIDATE_VERSION)
    assert np.isnan(both.defaulted[cancelled]), "called off: nobody lent"
    assert both.defaulted[reviewed] == seen.defaulted[reviewed], "a reviewer approved it"
    assert both.deciding.verdict[reviewed] == "decline", "policy and model alone would not have"
    assert np.array_equal(np.flatnonzero(~np.isnan(both.defaulted)), np.flatnonzero(seen.lent))


def test_a_candidate_that_declines_no_more_than_it_was_let_in_for_goes_on() -> None:
    """The risk has risen, and it is the one that knows: the champion approves as if nothing had happened."""
    seen, stage = decided(3000, candidate_shift=1.5, matured=False), candidacy()
    assert JUDGE.in_shadow(seen, stage).action is Action.OUT
    accepted = replace_stricter(stage, 0.6)
    assert JUDGE.in_shadow(seen, accepted).action is Action.ON
    canary = in_canary(3000, candidate_shift=1.5, matured=False)
    assert JUDGE.in_canary(canary, candidacy(Stage.CANARY), EXPERIMENT).action is Action.OUT
    assert JUDGE.in_canary(canary, replace_stricter(candidacy(Stage.CANARY), 0.6), EXPERIMENT).action is Action.ON


def test_what_goes_beyond_what_was_accepted_is_out() -> None:
    seen = decided(3000, candidate_shift=1.5, matured=False)
    ruling = JUDGE.in_shadow(seen, replace_stricter(candidacy(), 0.1))
    assert ruling.action is Action.OUT
    assert "15.0% more allowed" in ruling.reasons[0]


def replace_stricter(stage: Candidacy, share: float) -> Candidacy:
    return msgspec.structs.replace(stage, stricter=Stricter(share, share))
