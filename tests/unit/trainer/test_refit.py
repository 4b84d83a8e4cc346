"""A chosen model learns from the validation part too, where it took nothing from it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from services.trainer.calibration import fit_platt
from services.trainer.examples import Examples
from services.trainer.families.found import load
from services.trainer.refit import refitted
from services.trainer.split import MIN_DEFAULTS, Split, temporal_split
from services.trainer.train import Trained, learn
from shared.model_artifact.manifest import logit
from tests.unit.trainer.synthetic import ALL, CONDITIONS, SIGNAL, synthetic_examples

ROWS = 3000
CUT = int(ROWS * 0.8)
"""Where the test part begins."""


def learnt(kind: str, examples: Examples | None = None) -> tuple[Trained, Split]:
    split = temporal_split(synthetic_examples(ROWS) if examples is None else examples, 0.2, 0.2)
    (family,) = load([kind])
    (trained,) = learn(split, [family(ALL, CONDITIONS)])
    return trained, split


def raw(trained: Trained, rows: Examples) -> NDArray[np.float64]:
    return trained.candidate.raw_probability(rows.columns(trained.feature_names))


@pytest.mark.parametrize("kind", ["logistic", "ridge"])
def test_it_is_what_both_parts_together_teach(kind: str) -> None:
    trained, split = learnt(kind)
    before = raw(trained, split.test)
    again = refitted(trained, split)
    (whole,) = learn(replace(split, train=synthetic_examples(ROWS).take(slice(0, CUT))), [trained.candidate])
    np.testing.assert_array_equal(raw(again, split.test), raw(whole, split.test))
    assert not np.array_equal(raw(again, split.test), before)
    assert again.validation_losses is trained.validation_losses, "the choice was made on rows not seen before"


@pytest.mark.parametrize("kind", ["elastic-net", "xgboost", "lightgbm", "catboost"])
def test_what_the_validation_part_stopped_or_chose_stays_as_it_is(kind: str) -> None:
    trained, split = learnt(kind)
    assert refitted(trained, split) is trained


def test_the_test_part_has_no_say() -> None:
    trained, split = learnt("logistic")
    before = refitted(trained, split)
    rows = synthetic_examples(ROWS, seed=2)
    split.test.label[:] = 1 - split.test.label
    split.test.features[:] = 0
    after = refitted(trained, split)
    np.testing.assert_array_equal(raw(after, rows), raw(before, rows))
    assert after.calibration == before.calibration


def test_the_level_is_that_of_the_latest_rows() -> None:
    examples = synthetic_examples(ROWS)
    # Of the rows before the validation part, half of those that defaulted didn't.
    early = np.flatnonzero(examples.label[: int(ROWS * 0.6)])[::2]
    examples.label[early] = 0
    trained, split = learnt("logistic", examples)
    again = refitted(trained, split)
    assert again.probability(split.validate).mean() == pytest.approx(split.validate.label.mean(), rel=0.03)


def test_a_slope_is_found_on_rows_that_no_model_of_it_has_seen() -> None:
    """Of many columns of noise, hardly penalised: what is fitted says too much on new rows, and its own rows would
    never tell."""
    examples = synthetic_examples(ROWS)
    noise = np.random.default_rng(1).normal(size=(ROWS, 120)).astype(np.float32)
    names = tuple(f"noise_{k}" for k in range(noise.shape[1]))
    wide = replace(
        examples,
        features=np.concatenate([examples.features, noise], axis=1),
        feature_names=(*examples.feature_names, *names),
    )
    split = temporal_split(wide, 0.2, 0.2)
    (family,) = load(["logistic"])
    inputs = replace(ALL, features=(*ALL.features, *names))
    (trained,) = learn(split, [family(inputs, CONDITIONS).with_settings({"penalty": 1e-3})])
    again = refitted(trained, split)
    both = wide.take(slice(0, CUT))
    by_its_own = fit_platt(raw(again, both), both.label, both.weight)
    assert again.calibration.slope < 0.9 < by_its_own.slope


def test_parts_with_too_few_defaults_to_be_cut_are_left_alone() -> None:
    examples = synthetic_examples(ROWS)
    examples.label[:CUT] = 0
    examples.label[int(ROWS * 0.55) : int(ROWS * 0.55) + MIN_DEFAULTS] = 1
    examples.label[int(ROWS * 0.61) : int(ROWS * 0.61) + MIN_DEFAULTS] = 1  # of the same span
    trained, split = learnt("logistic", examples)
    assert refitted(trained, split) is trained


def test_it_comes_nearer_to_the_law_behind_the_labels() -> None:
    def off(trained: Trained, rows: Examples) -> float:
        rank = rows.columns(("credit_rank",))[:, 0]
        used = np.nan_to_num(rows.columns(("utilization",))[:, 0], nan=0.2)
        law = SIGNAL * (2 - rank) + SIGNAL * used - 2.2
        return float(np.std(logit(trained.probability(rows)) - law))

    before, after = [], []
    for seed in range(1, 7):
        trained, split = learnt("logistic", synthetic_examples(ROWS, seed=seed))
        before.append(off(trained, split.test))
        after.append(off(refitted(trained, split), split.test))
    assert np.mean(after) < 0.95 * np.mean(before)
