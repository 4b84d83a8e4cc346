"""Boosters that a Dask cluster of two worker processes grows, beside those that are grown here."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from services.trainer.cli import parse
from services.trainer.engines import Engine
from services.trainer.evaluate import auc
from services.trainer.export import check_explanation, check_parity
from services.trainer.families import Conditions, Inputs
from services.trainer.families import xgboost_cluster as on_cluster
from services.trainer.families.ensemble import Ensemble
from services.trainer.families.linear import Logistic
from services.trainer.families.xgboost_trees import XGBoostTrees
from services.trainer.split import Split, temporal_split
from services.trainer.train import learn
from tests.unit.trainer.synthetic import ALL, CONDITIONS, sample, synthetic_examples

NOISE = 0.01
"""Of AUC on some hundred defaults; the standard error of the figure itself is three times that."""


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    with Engine("dask", workers=2).cluster() as client:
        yield client


@pytest.fixture(scope="module")
def split() -> Split:
    return temporal_split(synthetic_examples(6000), 0.2, 0.2)


def test_a_booster_of_the_cluster_judges_as_one_grown_here(
    cluster: Any, split: Split, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(on_cluster, "CHUNK_ROWS", 500)  # several on each worker
    here, there = (
        learn(split, [XGBoostTrees(ALL, conditions, depth=3)])[0]
        for conditions in (CONDITIONS, replace(CONDITIONS, cluster=cluster))
    )
    test = split.test
    assert abs(auc(test.label, here.probability(test)) - auc(test.label, there.probability(test))) < NOISE
    assert abs(here.validation_log_loss - there.validation_log_loss) < NOISE
    holdout = test.columns(there.feature_names)
    onnx = there.candidate.export_onnx()
    assert check_parity(there.candidate, onnx, holdout) < 1e-5
    explanation, _ = check_explanation(there.candidate, onnx, holdout)
    assert explanation is not None
    assert there.candidate.on_cluster
    assert not here.candidate.on_cluster


def test_signs_hold_on_the_cluster(cluster: Any, split: Split) -> None:
    """Where the data says that a higher rank means less risk, and an analyst forbids it, the rank says nothing."""
    conditions = Conditions(seed=1, threads=1, direction=lambda _: 1, cluster=cluster)
    (made,) = learn(split, [XGBoostTrees(Inputs("rank", ("credit_rank",)), conditions)])
    raw = made.candidate.raw_probability(np.arange(5, dtype=np.float32).reshape(-1, 1))
    assert (np.diff(raw) >= 0).all()


def test_fewer_rows_than_a_chunk_still_reach_every_worker(cluster: Any, split: Split) -> None:
    assert len(split.train) < on_cluster.CHUNK_ROWS
    workers = sorted(cluster.scheduler_info(n_workers=-1)["workers"])
    part = split.train
    matrix, label, _ = on_cluster._spread(cluster, workers, sample(part))
    assert matrix.numblocks[0] == label.numblocks[0] == len(workers) == 2
    assert np.array_equal(label.compute(), part.label)


def test_who_can_not_be_spread_says_so() -> None:
    conditions = replace(CONDITIONS, cluster=object())
    assert [kind(ALL, conditions).on_cluster for kind in (Logistic, XGBoostTrees, Ensemble)] == [False, True, False]


def test_a_scheduler_goes_with_dask_alone() -> None:
    assert parse(["train", "--engine", "dask", "--workers", "2"]).workers == 2
    with pytest.raises(SystemExit):
        parse(["train", "--scheduler", "tcp://dask:8786"])
