"""XGBoost on a Dask cluster: each worker holds a part of the rows, and all grow the same trees.

Rows go out in chunks, each to one worker; a worker keeps them in XGBoost's quantised form, a byte or two a value. So no
machine but the trainer's own holds all of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from services.trainer.families.base import Sample

CHUNK_ROWS = 50_000
"""Some megabytes of features: what the trainer and a worker hold of them at once on their way."""


def fit_on_cluster(cluster: Any, parameters: Mapping[str, Any], train: Sample, validate: Sample) -> Any:
    """A fitted XGBClassifier, as it would have come out here but for the last bits: workers' histograms are sums in
    another order, and quantiles are merged from those of their parts. `cluster`: a client of it."""
    from xgboost import XGBClassifier
    from xgboost.dask import DaskXGBClassifier

    workers = sorted(cluster.scheduler_info(n_workers=-1)["workers"])
    rows = _spread(cluster, workers, train)
    held_out = _spread(cluster, workers, validate)
    fitted = DaskXGBClassifier(**parameters)
    fitted.client = cluster
    fitted.fit(
        rows[0],
        rows[1],
        sample_weight=rows[2],
        eval_set=[held_out[:2]],
        sample_weight_eval_set=[held_out[2]],
        verbose=False,
    )
    model = XGBClassifier(**parameters)
    # Through the booster's own bytes, which know where early stopping ended: the cluster's class can't be exported.
    model.load_model(bytearray(fitted.get_booster().save_raw("ubj")))
    return model


def _spread(cluster: Any, workers: list[str], sample: Sample) -> tuple[Any, Any, Any]:
    """Features, labels and weights as Dask arrays. Which chunk lies where is always the same, and each worker has some
    of both parts: one without rows would have nothing to add to a round."""
    rows = len(sample.label)
    size = max(1, min(CHUNK_ROWS, -(-rows // len(workers))))
    columns: tuple[NDArray[Any], ...] = (sample.matrix, sample.label, sample.weight)
    parts: tuple[list[Any], list[Any], list[Any]] = ([], [], [])
    for number, start in enumerate(range(0, rows, size)):
        worker = workers[number % len(workers)]
        for part, values in zip(parts, columns, strict=True):
            part.append(_placed(cluster, worker, values[start : start + size]))
    matrix, label, weight = (_joined(part) for part in parts)
    return matrix, label, weight


def _placed(cluster: Any, worker: str, values: NDArray[Any]) -> Any:
    from dask import array, delayed

    # Not by a hash of what it holds: equal chunks would be one.
    future = cluster.scatter(np.ascontiguousarray(values), workers=[worker], hash=False)
    return array.from_delayed(delayed(future), shape=values.shape, dtype=values.dtype)


def _joined(parts: list[Any]) -> Any:
    from dask import array

    return array.concatenate(parts, axis=0)
