"""What holds for every family: the graph, the explanation and the bytes."""

from __future__ import annotations

import inspect
import json
import os
import subprocess
import sys
import tomllib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from services.trainer.candidates import candidates_of
from services.trainer.evaluate import auc
from services.trainer.export import (
    MAX_DIFFERENCE,
    MAX_UNEXPLAINED,
    check_explanation,
    check_parity,
    run_onnx,
)
from services.trainer.families import FamilyRefused, found
from tests.unit.trainer.families.fitted import BUILD, fit, fitted, parts, served
from tests.unit.trainer.synthetic import CONDITIONS, NAMES, sample

REPOSITORY = Path(__file__).parents[4]


@pytest.mark.parametrize("name", BUILD)
def test_the_graph_answers_as_the_library_does_missing_values_included(name: str) -> None:
    candidate, holdout = fitted(name), parts()[1].features
    assert np.isnan(holdout).any()
    assert check_parity(candidate, candidate.export_onnx(), holdout) < MAX_DIFFERENCE / 10


@pytest.mark.parametrize("name", BUILD)
def test_values_that_a_float_cannot_hold_get_the_librarys_answer_too(name: str) -> None:
    candidate, holdout = fitted(name), parts()[1].features[:50].copy()
    holdout[::2, 0], holdout[1::2, 2] = np.inf, -np.inf
    if candidate.family in ("logistic", "ridge", "elastic-net", "ensemble"):
        asked = np.clip(holdout, -3e38, 3e38)  # scikit-learn refuses infinity; both are beyond what was learnt from
    else:
        asked = holdout
    assert np.abs(run_onnx(candidate.export_onnx(), holdout) - candidate.raw_probability(asked)).max() < 1e-6


@pytest.mark.parametrize("name", BUILD)
def test_base_and_contributions_add_up_to_the_graphs_probability(name: str) -> None:
    candidate = fitted(name)
    explanation, difference = check_explanation(candidate, candidate.export_onnx(), parts()[1].features)
    if candidate.explains:
        assert explanation is not None
        assert difference is not None
        assert difference < MAX_UNEXPLAINED / 10
    else:
        assert (explanation, candidate.explanation()) == (None, None)


@pytest.mark.parametrize("name", BUILD)
def test_a_row_gets_the_same_bits_alone_and_among_any_others(name: str) -> None:
    """As the scorer asks, so that a decision can be made again without its batch (`replay`)."""
    candidate, rows = fitted(name), parts()[1].features[:301]
    model = served(candidate)
    alone = [model.score(rows[i : i + 1]) for i in range(len(rows))]
    for size in (2, 3, 16, 100, 301):
        together = [model.score(rows[i : i + size]) for i in range(0, len(rows), size)]
        for told in ("probabilities", "contributions") if candidate.explains else ("probabilities",):
            one, many = (np.concatenate([getattr(each, told) for each in scores]) for scores in (alone, together))
            assert np.array_equal(one, many), (size, told)


def test_only_the_neural_network_explains_nothing() -> None:
    silent = [each.family for each in candidates_of(list(found.BUILT_IN), CONDITIONS) if not each.explains]
    assert silent == ["neural-network"]


@pytest.mark.parametrize("name", BUILD)
def test_the_same_data_and_seed_give_the_same_bytes(name: str) -> None:
    assert fit(BUILD[name]()).export_onnx() == fitted(name).export_onnx()


DIGESTS = """
import hashlib, json
from services.trainer.families import FamilyRefused
from tests.unit.trainer.families.fitted import BUILD, parts
from tests.unit.trainer.synthetic import NAMES, sample

digests = {}
for name, build in BUILD.items():
    candidate = build()
    if candidate.family in digests:
        continue
    try:
        candidate.fit(NAMES, *(sample(part.take(slice(0, 800))) for part in parts()))
    except FamilyRefused:
        continue
    digests[candidate.family] = hashlib.sha256(candidate.export_onnx()).hexdigest()
print(json.dumps(digests))
"""
OTHERWISE = 0, 20
"""Seeds of Python's hashes under which a set of a graph's two operator sets has them in different orders."""


def test_another_process_writes_the_same_bytes() -> None:
    def digests(hash_seed: int) -> dict[str, str]:
        environment = os.environ | {"PYTHONHASHSEED": str(hash_seed)}
        done = subprocess.run(
            [sys.executable, "-c", DIGESTS], cwd=REPOSITORY, env=environment, capture_output=True, text=True, check=True
        )
        found: dict[str, str] = json.loads(done.stdout.splitlines()[-1])
        return found

    one, other = map(digests, OTHERWISE)
    assert {"logistic", "xgboost", "catboost", "ensemble"} <= set(one)
    assert one == other


@pytest.mark.parametrize("name", BUILD)
def test_each_family_finds_what_there_is_to_learn(name: str) -> None:
    held = parts()[1]
    assert auc(held.label, fitted(name).raw_probability(held.features)) > 0.78


@pytest.mark.parametrize("name", BUILD)
def test_a_purchase_counts_as_often_as_its_weight_says(name: str) -> None:
    train, validate = parts()
    weighted = [replace(part, weight=np.where(part.label == 1, 3.0, 1.0)) for part in (train, validate)]
    candidate = BUILD[name]()
    try:
        candidate.fit(NAMES, *(sample(part) for part in weighted))
    except FamilyRefused as refused:
        pytest.skip(str(refused))
    expected = np.average(train.label, weights=weighted[0].weight)
    found = np.average(candidate.raw_probability(train.features), weights=weighted[0].weight)
    assert expected > 2 * train.label.mean()
    assert found == pytest.approx(expected, abs=0.03)


@pytest.mark.parametrize("name", BUILD)
def test_what_was_never_missing_in_training_may_be_missing_later(name: str) -> None:
    """LightGBM, for one, then takes it for zero, and its graph has to know."""
    train, validate = (replace(part, features=part.features.copy()) for part in parts())
    for part in (train, validate):
        part.features[:] = np.nan_to_num(part.features, nan=-0.5)
    candidate = BUILD[name]()
    names = tuple(f"f{i}" for i in range(train.features.shape[1]))
    try:
        candidate.fit(names, sample(train), sample(validate))
    except FamilyRefused as refused:
        pytest.skip(str(refused))
    graph = candidate.export_onnx()
    assert check_parity(candidate, graph, validate.features) < MAX_DIFFERENCE / 10
    check_explanation(candidate, graph, validate.features)


def test_the_families_of_this_code_are_those_that_its_distribution_declares() -> None:
    declared = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]["entry-points"][found.GROUP]
    assert declared == found.BUILT_IN


def test_every_family_of_ours_is_complete_and_calls_itself_by_its_name() -> None:
    for name, family in zip(found.BUILT_IN, found.load(found.BUILT_IN), strict=True):
        assert (family.family, inspect.isabstract(family)) == (name, False)


def test_a_family_that_is_not_there_is_refused_with_those_that_are() -> None:
    with pytest.raises(FamilyRefused, match=r"'oracle': there are logistic, ridge"):
        found.load(["logistic", "oracle"])
