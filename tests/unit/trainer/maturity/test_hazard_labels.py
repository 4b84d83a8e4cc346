"""Learning from loans that still run, against a law that is known: nothing is taken for good that isn't known yet."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from services.trainer.evaluate import auc
from services.trainer.examples import TrainingRefused
from services.trainer.families.linear import Logistic
from services.trainer.maturity.hazard import fit_hazard
from services.trainer.maturity.known import Known
from services.trainer.maturity.labels import Labelled, expected_labels, hazard_split, sayable
from services.trainer.split import Split, temporal_split
from services.trainer.train import learn
from tests.unit.trainer.maturity.known_law import World, day, world
from tests.unit.trainer.synthetic import ALL, CONDITIONS, NAMES

TODAY, DAYS = 140, 160
VARYING = NAMES[:5]


def labelled(known: Known) -> Labelled:
    return hazard_split(known, VARYING, lambda _: 0, 0.2, 0.2)


def learnt(split: Split, made: World) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
    """Which purchases are bought from today on, and what one says of them who has learnt from the split."""
    future = made.between(TODAY, DAYS)
    (trained,) = learn(split, [Logistic(ALL, CONDITIONS)])
    return future, trained.probability(made.examples.take(future))


def expected_loss(truth: NDArray[np.float64], said: NDArray[np.float64]) -> float:
    """Log-loss under the law itself: without the noise of the future's own tosses."""
    return float(np.mean(-truth * np.log(said) - (1 - truth) * np.log1p(-said)))


def expected_auc(truth: NDArray[np.float64], said: NDArray[np.float64]) -> float:
    """Each purchase is a default with its probability, and a good loan with the rest."""
    label = np.repeat(np.array([1, 0], dtype=np.int8), len(said))
    return auc(label, np.tile(said, 2), np.concatenate([truth, 1 - truth]))


def matured(known: Known) -> Split:
    return temporal_split(known.settled().ordered(), 0.2, 0.2)


def naive(known: Known) -> Split:
    """Everything that was bought, good unless it is known to be bad."""
    rows = known.examples.ordered()
    cut = int(0.75 * len(rows))
    return Split(rows.take(slice(0, cut)), rows.take(slice(cut, len(rows))), rows.take(slice(cut, len(rows))))


@pytest.fixture(scope="module")
def steady() -> World:
    return world(16_000, DAYS, seed=5)


def test_expected_labels_have_the_mean_of_the_final_ones_and_seen_so_far_has_not(steady: World) -> None:
    known = steady.known(day(TODAY))
    hazard = fit_hazard(known, VARYING, lambda _: 0)
    said = sayable(known, hazard)
    rows = expected_labels(said.take(said.open), hazard)
    running = np.isin(steady.examples.event_id.astype(str), said.examples.event_id[said.open].astype(str))
    truth = steady.examples.label[running]
    expected = float(rows.weight @ rows.label / rows.weight.sum())
    assert rows.weight.sum() == pytest.approx(len(truth))
    # Two sources of noise: the tosses that are still to come, and those that the hazard has learnt from.
    assert abs(expected - truth.mean()) < 0.15 * truth.mean()
    # By who it is, too: not one mean for all.
    risky = steady.probability[running] > np.median(steady.probability[running])
    by_purchase = np.bincount(np.unique(rows.event_id.astype(str), return_inverse=True)[1], rows.weight * rows.label)
    order = np.argsort(steady.examples.event_id[running].astype(str))
    assert by_purchase[risky[order]].mean() == pytest.approx(truth[risky].mean(), rel=0.2)
    assert by_purchase[risky[order]].mean() > 1.5 * by_purchase[~risky[order]].mean()
    so_far = known.examples.label[(known.watched > 0) & ~known.mature].mean()
    assert so_far < 0.6 * steady.probability[running].mean()


def test_a_model_of_hazard_labels_is_right_in_the_mean_and_ranks_as_one_of_matured_labels_does(steady: World) -> None:
    known = steady.known(day(TODAY))
    future, said = learnt(labelled(known).split, steady)
    _, by_matured = learnt(matured(known), steady)
    _, by_naive = learnt(naive(known), steady)
    truth = steady.probability[future]
    assert said.mean() == pytest.approx(truth.mean(), rel=0.15)
    assert by_naive.mean() < 0.4 * truth.mean(), "not yet known taken for good: visibly wrong"
    label = steady.examples.label[future]
    assert auc(label, said) > auc(label, by_matured) - 0.005
    assert auc(label, truth) - auc(label, said) < 0.02


def test_where_little_has_matured_young_purchases_make_it_better() -> None:
    gained = []
    for seed in range(4):
        made = world(2_400, 105, seed=10 + seed)
        known = made.known(day(100))
        future = made.between(100, 105)
        losses = {}
        for name, split in (
            ("matured", temporal_split(known.settled().ordered(), 0.3, 0.3)),
            ("hazard", hazard_split(known, VARYING, lambda _: 0, 0.3, 0.3).split),
        ):
            (trained,) = learn(split, [Logistic(ALL, CONDITIONS)])
            said = trained.probability(made.examples.take(future))
            losses[name] = expected_loss(made.probability[future], said)
        gained.append(losses["matured"] - losses["hazard"])
    assert np.mean(gained) > 0


def test_after_a_change_of_the_law_young_purchases_tell_of_it_long_before_they_mature() -> None:
    made = world(16_000, DAYS, seed=6, altered_from=80)
    known = made.known(day(TODAY))
    future, by_hazard = learnt(labelled(known).split, made)
    _, by_matured = learnt(matured(known), made)
    truth = made.probability[future]
    assert by_matured.mean() < 0.6 * truth.mean(), "hardly anything that has matured was bought after the change"
    assert abs(by_hazard.mean() - truth.mean()) < 0.5 * abs(by_matured.mean() - truth.mean())
    assert expected_auc(truth, by_hazard) > expected_auc(truth, by_matured) + 0.005
    assert expected_loss(truth, by_hazard) < expected_loss(truth, by_matured)


def test_the_test_part_is_that_of_a_matured_training_and_nothing_of_it_is_learnt_from(steady: World) -> None:
    known = steady.known(day(TODAY))
    found = labelled(known)
    assert found.split.test.digest() == matured(known).test.digest()
    tested = set(found.split.test.event_id)
    for part in (found.split.train, found.split.validate):
        assert not tested & set(part.event_id)
    assert not set(found.split.train.event_id) & set(found.split.validate.event_id)
    # Not even by the hazard: other labels of the test part change nothing of what is learnt from.
    other = known.examples.label.copy()
    rows = np.isin(known.examples.event_id.astype(str), found.split.test.event_id.astype(str))
    other[rows] = 1 - other[rows]
    turned = replace(
        known, examples=replace(known.examples, label=other),
        missed_in=np.where(rows, np.where(known.defaulted, 0, 1), known.missed_in), repaid=known.repaid | rows,
    )  # fmt: skip
    again = labelled(turned).split
    assert again.train.digest() == found.split.train.digest()
    assert again.validate.digest() == found.split.validate.digest()


def test_what_was_only_known_later_changes_nothing_of_what_is_learnt(steady: World) -> None:
    known = steady.known(day(TODAY))
    late = steady.outcomes.observed_us > day(TODAY)
    outcomes = replace(steady.outcomes, defaulted=steady.outcomes.defaulted ^ late)
    turned = World(steady.examples, outcomes, steady.probability).known(day(TODAY))
    assert labelled(turned).split.train.digest() == labelled(known).split.train.digest()


def test_a_plan_whose_end_nobody_has_reached_is_left_out_rather_than_guessed(steady: World) -> None:
    early = steady.known(day(70))
    hazard = fit_hazard(early, VARYING, lambda _: 0)
    assert (4, 4) in hazard.periods
    assert (6, 6) not in hazard.periods
    said = sayable(early, hazard)
    assert not (said.open & (said.periods == 6)).any()
    assert (said.open & (said.periods == 4)).any()


def test_without_watched_periods_there_is_nothing_to_learn(steady: World) -> None:
    with pytest.raises(TrainingRefused):
        fit_hazard(steady.known(day(13)), VARYING, lambda _: 0)


def test_one_absurd_value_takes_no_feature_away(steady: World) -> None:
    known = steady.known(day(TODAY))
    matrix = known.examples.features.copy()
    strongest = int(np.argmax(np.abs(fit_hazard(known, VARYING, lambda _: 0).coefficients)))
    matrix[0, known.examples.feature_names.index(VARYING[strongest])] = 1e9
    odd = replace(known, examples=replace(known.examples, features=matrix))
    running = np.arange(len(known)) > 0
    said, of_odd = (fit_hazard(each, VARYING, lambda _: 0).still_to_default(each)[running] for each in (known, odd))
    assert np.corrcoef(said, of_odd)[0, 1] > 0.99
