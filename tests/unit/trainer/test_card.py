"""What a model card says of parts of the hold-out, and of the reasons."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from services.trainer.card import card_html
from services.trainer.evaluate import Economics
from services.trainer.examples import Examples
from services.trainer.families import Sample
from services.trainer.families.linear import Logistic
from services.trainer.segments import LEAST_ROWS, OTHERS, Columns, by_segment
from services.trainer.split import temporal_split
from services.trainer.stability import reasons_stability
from services.trainer.train import learn
from services.trainer.workflow import Plan, train_and_register
from shared.model_artifact.registry import ModelRegistry
from tests.unit.trainer.synthetic import ALL, ALL_MATURE_US, CONDITIONS, small_candidates, synthetic_examples


def columns(seen: Examples) -> Columns:
    """By rank, as if it were a product; and by state, one of which is rare."""
    rank = seen.columns(("credit_rank",))[:, 0].astype(int)
    rare = np.where(np.arange(len(seen)) % 50 == 0, "VI", "NY")
    return {"product_category": np.array([f"rank {each}" for each in rank], dtype=object), "state": rare.astype(object)}


def test_each_segment_has_its_figures_with_intervals_that_hold_them() -> None:
    seen = synthetic_examples(4000)
    truth = np.where(seen.label == 1, 0.2, 0.1)
    found = by_segment(seen, truth, columns(seen), Economics(), seed=1)
    ranks = found["product_category"]
    assert set(ranks) == {f"rank {each}" for each in range(5)}
    assert sum(int(str(each["rows"])) for each in ranks.values()) == len(seen)
    for figures in ranks.values():
        value, low, high = np.array(figures["default_rate"])
        assert low <= value <= high
        assert high - low > 0.005, "so few rows are not that sure"
        assert np.allclose(np.array(figures["auc"]), 1.0), "it says more of every default than of any other"
    assert ranks["rank 0"]["default_rate"][0] > ranks["rank 4"]["default_rate"][0]  # type: ignore[index]


def test_groups_too_small_to_say_anything_of_are_taken_together() -> None:
    seen = synthetic_examples(4000)
    found = by_segment(seen, np.full(4000, 0.1), columns(seen), Economics(), seed=1)["state"]
    assert set(found) == {"NY", OTHERS}
    assert found[OTHERS]["rows"] == 80 < LEAST_ROWS


def test_a_segment_without_a_default_has_no_auc_and_is_no_trouble() -> None:
    seen = replace(synthetic_examples(500), label=np.zeros(500, dtype=np.int8))
    found = by_segment(seen, np.full(500, 0.1), {"state": np.full(500, "NY", dtype=object)}, Economics(), seed=1)
    assert found["state"]["NY"]["auc"] is None
    assert found["state"]["NY"]["default_rate"] == [0.0, 0.0, 0.0]


def test_a_law_that_both_halves_learn_gives_the_same_reasons_and_noise_does_not() -> None:
    split = temporal_split(synthetic_examples(6000), 0.2, 0.2)
    (sound,) = learn(split, [Logistic(ALL, CONDITIONS)])
    (dealt,) = learn(split, [OfNoise(ALL, CONDITIONS)])
    stable, unstable = reasons_stability(sound, split), reasons_stability(dealt, split)
    assert stable is not None
    assert unstable is not None
    # On purchases of low risk hardly anything raises it, and which of the noises does is chance even so.
    for figure in ("same_main_reason", "importance_rank_correlation"):
        assert float(str(stable[figure])) > float(str(unstable[figure])) + 0.1, figure


def test_the_card_of_a_training_has_segments_fairness_reasons_and_trials(tmp_path: Path) -> None:
    plan = Plan(0.2, 0.2, Economics(), seed=1)
    done = train_and_register(
        synthetic_examples(), ALL_MATURE_US, small_candidates(), plan, ModelRegistry(str(tmp_path)),
        promote=False, segments_of=columns,
    )  # fmt: skip
    assert set(done.card["by_segment"]) == {"product_category"}  # type: ignore[call-overload]
    assert set(done.card["fairness"]) == {"state"}  # type: ignore[call-overload]
    assert done.card["reasons_stability"]["rows"] == done.manifest.data_window.test_rows  # type: ignore[index]
    page = card_html(done.manifest.version, done.card)
    for said in ("Fairness", "rank 3", "Reasons stability", "lags behind", " to "):
        assert said in page


class OfNoise(Logistic):
    """Learns labels that were dealt out anew, which tell nothing twice."""

    def fit(self, names: Sequence[str], train: Sample, validate: Sample) -> None:
        dealt = np.random.default_rng(len(train.label) + int(train.label.sum())).permutation(train.label)
        super().fit(names, replace(train, label=dealt), validate)
