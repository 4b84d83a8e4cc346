"""What single gates see and what they pass over, on hold-outs that were made for it."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest
from scipy.special import gammainc, gammaincc

from services.trainer.evaluate import Economics, numbered
from services.trainer.gate import INCOMPARABLE, Champion
from services.trainer.gates import latency, mismatch
from services.trainer.gates.calibration import calibration
from services.trainer.gates.dossier import Applications, Dossier, Groups
from services.trainer.gates.fairness import fairness
from services.trainer.gates.latency import Timed
from services.trainer.gates.leakage import of_lineage
from services.trainer.gates.limits import GateLimits
from services.trainer.gates.mismatch import Compared
from services.trainer.gates.performance import performance
from services.trainer.gates.stability import stability
from services.trainer.gates.statistics import above_zero_p, fewer_than_said_p, more_than_said_p, rejected
from shared.model_artifact.files import ModelFiles
from shared.model_artifact.manifest import logit, sigmoid
from tests.unit.model_artifact.artifacts import a_manifest
from tests.unit.trainer.gates.population import population

LIMITS = GateLimits()
CHAMPION = "c" * 16


def truth(rank: np.ndarray, draws: np.random.Generator) -> np.ndarray:
    return np.asarray(sigmoid(0.9 * (1.5 - rank) - 3.0 + 0.5 * draws.normal(size=len(rank))))


def dossier(rows: int = 6000, seed: int = 1, champion_noise: float = 0.6) -> Dossier:
    """The candidate says just what the labels were tossed with; the champion is off by a noise of its own."""
    examples, groups_of = population(seed, rows=rows)
    draws = np.random.default_rng(seed)
    said = truth(examples.features[:, 1].astype(float), draws)
    examples.label[:] = draws.random(rows) < said
    theirs = sigmoid(logit(said) + champion_noise * draws.normal(size=rows))
    files = ModelFiles(a_manifest(), b"", None, b"{}")
    return Dossier(files, examples, said, Champion(CHAMPION, theirs), groups_of(examples), said, Economics())


def by_state(case: Dossier, said: np.ndarray, state: np.ndarray, customers: np.ndarray | None = None) -> Dossier:
    """The case with that said of its purchases, and those states and customers, all of them lent."""
    holdout = case.holdout if customers is None else replace(case.holdout, customer_id=customers)
    applications = Applications(holdout.customer_id, holdout.features, {"state": state})
    groups = Groups(case.groups.segments, {"state": state}, applications)
    return replace(case, holdout=holdout, probability=said, applied=said, groups=groups)


def lent_alone(case: Dossier, lent: np.ndarray, weight: np.ndarray) -> Dossier:
    """The case where only these purchases were lent, with these weights: of the others nobody knows the outcome."""
    segments, protected = (
        {name: column[lent] for name, column in columns.items()}
        for columns in (case.groups.segments, case.groups.protected)
    )
    return replace(
        case,
        holdout=replace(case.holdout, weight=weight).take(lent),
        probability=case.probability[lent],
        groups=Groups(segments, protected, case.groups.applications),
    )


def told_again(case: Dossier, times: int) -> Dossier:
    """Each purchase so many times, under the name of its customer: nothing new is told."""
    rows = np.repeat(np.arange(len(case.holdout)), times)
    segments = {name: column[rows] for name, column in case.groups.segments.items()}
    theirs = case.champion.probability
    assert theirs is not None
    return replace(
        case,
        holdout=case.holdout.take(rows),
        probability=case.probability[rows],
        champion=Champion(CHAMPION, theirs[rows]),
        groups=replace(case.groups, segments=segments),
    )


def test_the_truth_beats_a_noisy_champion_and_the_rule_and_is_calibrated_stable_and_fair() -> None:
    case = dossier()
    for gate in (performance, calibration, stability, fairness):
        assert gate(case, LIMITS).passed, gate(case, LIMITS)


def test_one_as_good_as_the_champion_or_better_by_luck_alone_does_not_beat_it() -> None:
    case = dossier()
    same = replace(case, champion=Champion(CHAMPION, case.probability))
    assert not performance(same, LIMITS).passed
    draws = np.random.default_rng(3)
    passed = 0
    for _ in range(20):
        mine, theirs = (sigmoid(logit(case.probability) + 0.3 * draws.normal(size=6000)) for _ in range(2))
        passed += performance(replace(case, probability=mine, champion=Champion(CHAMPION, theirs)), LIMITS).passed
    assert passed <= 2


def test_profit_over_a_range_of_losses_sees_what_profit_at_one_loss_does_not() -> None:
    beaten = f"; beats champion {CHAMPION}: profit"  # over losses, or at the stated one
    cases = [dossier(seed=seed, champion_noise=0.4) for seed in range(12)]
    at_one = sum(beaten in performance(case, replace(LIMITS, loss_spread=0.0)).figures for case in cases)
    over_many = sum(beaten in performance(case, LIMITS).figures for case in cases)
    assert over_many >= 6 > at_one + 1


def test_a_candidate_that_is_right_but_earns_no_more_does_not_beat_the_champion() -> None:
    case = dossier()
    # Both rank alike and agree on what pays at any loss; the champion alone is far off where nobody would approve.
    theirs = np.where(case.probability > 0.25, 0.9, case.probability)
    verdict = performance(replace(case, champion=Champion(CHAMPION, theirs)), LIMITS)
    assert "beats champion cccccccccccccccc: log-loss" in verdict.figures
    assert "does not beat champion cccccccccccccccc: profit" in verdict.figures
    assert not verdict.passed


def test_a_candidate_that_earns_less_at_the_stated_loss_does_not_pass_by_what_it_earns_at_others() -> None:
    """Around the break-even, by which decisions are made, it says the opposite of the truth; the champion is off
    everywhere else."""
    case = dossier(rows=20_000, seed=3)
    case.holdout.rule_approves[:] = 1  # a rule that is easily beaten
    true, draws = case.probability, np.random.default_rng(3)
    low, high = 0.042, 0.053
    around = (true > low) & (true < high)
    mine = np.where(around, sigmoid(2 * logit(np.asarray(case.economics.break_even)) - logit(true)), true)
    off = sigmoid(logit(true) + 1.2 * draws.normal(size=len(true)))
    theirs = np.select([around, true <= low], [true, np.minimum(off, low)], np.maximum(off, high))
    verdict = performance(replace(case, probability=mine, champion=Champion(CHAMPION, theirs)), LIMITS)
    assert f"beats champion {CHAMPION}: profit over losses of 15% to 100%" in verdict.figures
    assert f"less than champion {CHAMPION} at the stated loss" in verdict.figures.replace("no less", "NO")
    assert not verdict.passed


def test_no_loss_is_assumed_beyond_the_whole_amount_unless_the_stated_one_is() -> None:
    case = replace(dossier(), economics=Economics(loss_on_default=0.9))
    assert "losses of 22% to 100%" in performance(case, LIMITS).figures
    case = replace(dossier(), economics=Economics(loss_on_default=1.2))
    assert "losses of 30% to 120%" in performance(case, LIMITS).figures


def test_a_champion_that_cannot_be_compared_is_not_beaten_and_a_broken_one_leaves_the_rule() -> None:
    case = dossier()
    other = performance(replace(case, champion=Champion(CHAMPION, None, INCOMPARABLE, serves=True)), LIMITS)
    assert not other.passed
    assert INCOMPARABLE in other.figures
    assert performance(replace(case, champion=Champion(CHAMPION, None, "hash: damaged")), LIMITS).passed
    assert performance(replace(case, champion=Champion(None, None)), LIMITS).passed


@pytest.mark.parametrize("shift", [0.8, -0.8])
def test_one_segment_that_is_off_is_found_and_named(shift: float) -> None:
    case = dossier()
    home = case.groups.segments["product_category"] == "home"
    said = np.where(home, sigmoid(logit(case.probability) + shift), case.probability)
    found = calibration(replace(case, probability=said), LIMITS)
    assert not found.passed
    assert "product category home" in found.figures


def test_a_slope_that_is_off_shows_in_the_bands_of_risk() -> None:
    case = dossier()
    middle = logit(case.probability).mean()
    steep = sigmoid(middle + 2.0 * (logit(case.probability) - middle))
    found = calibration(replace(case, probability=steep), LIMITS)
    assert not found.passed
    assert "risk band" in found.figures


def test_sound_candidates_are_hardly_ever_refused_by_chance() -> None:
    cases = [dossier(1500, seed) for seed in range(30)]
    for gate in (calibration, stability, fairness):
        assert sum(not gate(case, LIMITS).passed for case in cases) <= 3, gate


def test_what_is_lost_in_one_segment_is_not_made_up_for_elsewhere() -> None:
    case = dossier()
    poor = case.groups.segments["credit_score_range"] == "poor"
    noisy = sigmoid(logit(case.probability) + np.random.default_rng(5).normal(size=6000) * poor * 1.5)
    found = stability(replace(case, probability=noisy), LIMITS)
    assert not found.passed
    assert "credit score range poor" in found.figures


def test_a_large_group_that_is_turned_away_is_found_and_a_tiny_one_only_told_of() -> None:
    case = dossier()
    for members, passes in ((2000, False), (4, True)):
        state = np.array(["S00"] * 6000, dtype=object)
        state[:members] = "S01"
        found = fairness(by_state(case, np.where(state == "S01", 0.5, case.probability), state), LIMITS)
        assert found.passed is passes, found
        assert "state S01" in found.figures


def test_a_customer_with_many_purchases_counts_once() -> None:
    case = dossier()
    state = np.array(["S00"] * 6000, dtype=object)
    state[:2000] = "S01"
    said = np.where(state == "S01", 0.5, case.probability)
    customers = np.where(state == "S01", "one", case.holdout.customer_id).astype(object)
    assert not fairness(by_state(case, said, state), LIMITS).passed
    assert fairness(by_state(case, said, state, customers), LIMITS).passed


def test_one_like_an_unfair_champion_is_unfair_though_of_what_was_lent_it_turns_nobody_away() -> None:
    case = dossier()
    state = np.array(["S00"] * 6000, dtype=object)
    state[:2000] = "S01"
    asked = np.arange(6000)
    said = np.select([state == "S00", asked < 20], [0.02, 0.02], 0.5)
    case = by_state(case, said, state)
    lent = said < case.economics.break_even
    seen = lent_alone(case, lent, np.ones(6000))
    found = fairness(seen, LIMITS)
    assert not found.passed
    assert "state S01: 1.0% of 2000 approved, 100.0% of others" in found.figures
    assert "of what was lent" not in found.figures
    of_lent = Applications(seen.holdout.customer_id, seen.holdout.features, seen.groups.protected)
    groups = replace(seen.groups, applications=of_lent)
    assert fairness(replace(seen, groups=groups, applied=seen.probability), LIMITS).passed


def test_good_customers_approved_by_chance_stand_for_those_turned_away() -> None:
    """Half of one state is turned away, and one in ten of these is lent all the same."""
    case = dossier()
    state = np.array(["S00"] * 6000, dtype=object)
    state[:2000] = "S01"
    turned_away = np.arange(6000) < 1000
    by_chance = turned_away & (np.arange(6000) % 10 == 0)
    case = by_state(case, np.where(turned_away, 0.5, 0.02), state)
    case.holdout.label[:] = 0
    seen = lent_alone(case, ~turned_away | by_chance, np.where(by_chance, 10.0, 1.0))
    assert "state S01: of what was lent, 50.0% of good customers turned away" in fairness(seen, LIMITS).figures
    unweighted = replace(seen, holdout=replace(seen.holdout, weight=np.ones(len(seen.holdout))))
    assert "of what was lent" not in fairness(unweighted, LIMITS).figures


def test_what_a_regular_tells_again_makes_no_gate_surer() -> None:
    case = dossier(3000)
    poor = case.groups.segments["credit_score_range"] == "poor"
    case = replace(case, probability=np.asarray(sigmoid(logit(case.probability) - 1.5 * poor)))
    for gate in (performance, calibration, stability):
        found = [
            re.findall(r"(?:p[ a-z]* =|standard error) [^,)]+", gate(each, LIMITS).figures)
            for each in (case, told_again(case, 4))
        ]
        assert found[0], gate
        assert found[1] == found[0], gate


CUSTOMERS, EACH, ALIKE = 250, 5, 0.3
"""As many purchases of each, and how far his resemble each other (the correlation of any two)."""


def test_a_paired_test_holds_its_level_where_a_customers_purchases_resemble_each_other() -> None:
    draws = np.random.default_rng(7)
    customers = np.repeat(np.arange(CUSTOMERS), EACH)
    weight = np.where(customers % 10 == 0, 4.0, 1.0)

    def apart() -> np.ndarray:
        his, its = draws.normal(size=CUSTOMERS)[customers], draws.normal(size=CUSTOMERS * EACH)
        return np.asarray(ALIKE**0.5 * his + (1 - ALIKE) ** 0.5 * its)

    cases = [apart() for _ in range(2000)]
    assert 0.035 <= np.mean([above_zero_p(each, weight, customers) <= 0.05 for each in cases]) <= 0.065
    assert np.mean([above_zero_p(each, weight) <= 0.05 for each in cases]) > 0.085


def test_counts_of_defaults_hold_their_level_where_a_customers_purchases_resemble_each_other() -> None:
    draws = np.random.default_rng(8)
    customers = np.repeat(np.arange(CUSTOMERS), EACH)
    probability = draws.uniform(0.01, 0.1, CUSTOMERS)
    often = 1 / ALIKE - 1  # of a beta law: two tosses at one draw of it correlate by ALIKE
    cases = [
        (draws.random(CUSTOMERS * EACH) < draws.beta(probability * often, (1 - probability) * often)[customers])
        for _ in range(1000)
    ]
    said, weight, alone = probability[customers], np.ones(CUSTOMERS * EACH), np.arange(CUSTOMERS * EACH)
    for tail in (more_than_said_p, fewer_than_said_p):
        found, naive = (
            np.mean([tail(label.astype(np.int8), said, weight, whose) <= 0.05 for label in cases])
            for whose in (customers, alone)
        )
        assert 0.02 <= found <= 0.065, tail
        assert naive > 0.07, tail


def test_of_customers_who_come_once_tests_are_what_they_are_of_rows() -> None:
    draws = np.random.default_rng(9)
    weight, probability = draws.choice([1.0, 7.0], 500), draws.uniform(0.01, 0.3, 500)
    label, apart = (draws.random(500) < probability).astype(np.int8), draws.normal(0.05, 1.0, 500)
    once = numbered(np.array([f"c{row}" for row in draws.permutation(500)], dtype=object))
    assert above_zero_p(apart, weight, once) == pytest.approx(above_zero_p(apart, weight), rel=1e-12)
    found, said = label @ weight, probability @ weight
    scale = probability @ weight**2 / said
    assert more_than_said_p(label, probability, weight, once) == pytest.approx(gammainc(found / scale, said / scale))
    fewer = gammaincc(found / scale + 1, said / scale)
    assert fewer_than_said_p(label, probability, weight, once) == pytest.approx(fewer)


def test_a_prohibited_basis_among_the_inputs_is_unfair_whatever_it_does() -> None:
    case = dossier()
    files = replace(case.files, manifest=a_manifest(feature_names=["amount", "customer_state_rank"]))
    found = fairness(replace(case, files=files), LIMITS)
    assert not found.passed
    assert "customer_state_rank, made of state" in found.figures


def test_lineage_takes_what_is_declared_and_says_what_else_a_name_gives_away() -> None:
    declared = ("amount", "defaults_known")
    assert list(of_lineage(("amount", "defaults_known"), declared)) == []
    faults = list(of_lineage(("will_default", "days_to_first_missed_payment", "decision_rank", "x17"), declared))
    assert [fault.rpartition(" ")[2] for fault in faults] == ["label", "repayment", "decision", "from"]


def test_a_slow_graph_passes_only_where_the_champion_is_as_slow() -> None:
    assert latency.judge(Timed(0.5, 5.0), None, LIMITS).passed
    assert not latency.judge(Timed(2.0, 5.0), None, LIMITS).passed
    assert not latency.judge(Timed(2.0, 5.0), Timed(0.1, 1.0), LIMITS).passed
    assert latency.judge(Timed(2.0, 20.0), Timed(1.0, 9.0), LIMITS).passed
    assert not latency.judge(Timed(0.5, 40.0), Timed(1.0, 9.0), LIMITS).passed


def test_features_that_differ_from_those_made_again_refuse_above_their_limit() -> None:
    assert mismatch.mismatch(Compared(0, 0), LIMITS).passed
    assert mismatch.mismatch(Compared(1000, 1), LIMITS).passed
    assert not mismatch.mismatch(Compared(1000, 2), LIMITS).passed


def test_poisson_tails_hold_their_level_also_with_weights() -> None:
    draws = np.random.default_rng(11)
    probability = draws.uniform(0.01, 0.2, 120)
    weight, once = np.where(np.arange(120) % 10 == 0, 25.0, 1.0), np.arange(120)
    for weights in (np.ones(120), weight):
        tossed = [(draws.random(120) < probability).astype(np.int8) for _ in range(400)]
        for tail in (more_than_said_p, fewer_than_said_p):
            assert np.mean([tail(label, probability, weights, once) <= 0.05 for label in tossed]) <= 0.075
    certain = np.ones(120, dtype=np.int8)
    assert more_than_said_p(certain, probability, np.ones(120), once) < 1e-12
    assert fewer_than_said_p(0 * certain, probability, np.ones(120), once) < 1e-3


def test_holm_rejects_step_by_step() -> None:
    assert rejected([0.9, 0.01, 0.02, 0.2], 0.05) == [1]
    assert rejected([0.9, 0.01, 0.016, 0.2], 0.05) == [1, 2]
    assert rejected([0.5, 0.6], 0.05) == []
