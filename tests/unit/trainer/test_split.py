from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.trainer.examples import TrainingRefused
from services.trainer.split import MIN_DEFAULTS, temporal_split
from tests.unit.trainer.synthetic import ALL_MATURE_US, DAY_US, MATURITY_US, START_US, synthetic_examples


@given(st.integers(0, 10_000), st.floats(0.1, 0.3), st.floats(0.1, 0.3), st.sampled_from([1, 3_600_000_000, DAY_US]))
@settings(max_examples=40, deadline=None)
def test_no_part_holds_a_moment_of_a_later_part(seed: int, validate: float, test: float, grain: int) -> None:
    examples = synthetic_examples(1500, seed)
    coarse = examples.occurred_us // grain * grain
    object.__setattr__(examples, "occurred_us", coarse)
    split = temporal_split(examples.ordered(), validate, test)
    assert split.train.occurred_us.max() < split.validate.occurred_us.min()
    assert split.validate.occurred_us.max() < split.test.occurred_us.min()
    assert len(split.train) + len(split.validate) + len(split.test) == len(examples)


def test_parts_have_about_the_shares_that_were_asked_for() -> None:
    split = temporal_split(synthetic_examples(3000), 0.2, 0.1)
    assert (len(split.validate) / 3000, len(split.test) / 3000) == pytest.approx((0.2, 0.1), abs=0.01)


def test_nothing_that_is_not_yet_mature_is_kept() -> None:
    examples = synthetic_examples(2000)
    as_of = START_US + 20 * DAY_US + MATURITY_US
    matured = examples.matured(as_of)
    assert 0 < len(matured) < len(examples)
    assert (matured.mature_us <= as_of).all()
    assert matured.occurred_us.max() <= START_US + 20 * DAY_US


def test_a_default_known_early_does_not_count_before_a_good_loan_of_the_same_day_would() -> None:
    examples = synthetic_examples(2000)
    as_of = START_US + 30 * DAY_US + MATURITY_US
    matured = examples.matured(as_of)
    same_days = examples.take(examples.occurred_us <= matured.occurred_us.max())
    assert matured.label.mean() == same_days.label.mean()


@pytest.mark.parametrize("rows", [0, 30])
def test_too_little_to_learn_from_is_said_rather_than_learnt(rows: int) -> None:
    with pytest.raises(TrainingRefused):
        temporal_split(synthetic_examples(rows), 0.2, 0.2)


def test_a_part_without_enough_defaults_is_refused_by_name() -> None:
    examples = synthetic_examples(1000)
    examples.label[800:] = 0
    examples.label[800 : 800 + MIN_DEFAULTS - 1] = 1
    with pytest.raises(TrainingRefused, match="test part"):
        temporal_split(examples, 0.2, 0.2)


def test_the_order_of_rows_in_the_warehouse_changes_nothing() -> None:
    examples = synthetic_examples(800)
    shuffled = examples.take(np.random.default_rng(3).permutation(800))
    assert shuffled.digest() != examples.ordered().digest()
    assert shuffled.ordered().digest() == examples.ordered().digest()


def test_one_changed_label_changes_the_digest() -> None:
    examples = synthetic_examples(800).matured(ALL_MATURE_US)
    before = examples.digest()
    examples.label[5] ^= 1
    assert examples.digest() != before
