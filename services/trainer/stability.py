"""Whether a model gives the same reasons when it learns from other purchases of the same world.

The candidate is fitted anew on each half of the train part, and both explain the same hold-out. Where two halves give
different reasons, a customer was told something that the next training may deny.
"""

from __future__ import annotations

import copy

import numpy as np
from numpy.typing import NDArray

from services.trainer.examples import Examples
from services.trainer.split import Split
from services.trainer.train import Trained, one_thread, sample_of
from shared.deciding.pipeline import MAX_REASONS
from shared.model_artifact.explanation import Explainer

MOST_ROWS = 2000
"""Of the hold-out, for the comparison: enough to tell shares to a hundredth."""


def reasons_stability(chosen: Trained, split: Split) -> dict[str, object] | None:
    """How far the reasons of the halves agree; None of a model that gives none.

    `same_main_reason`: share of rows where the feature that raises the risk most is the same. `reasons_in_common`: of
    the four that raise it most, the mean share in common. `importance_rank_correlation`: Spearman's, of the mean
    absolute contributions.
    """
    if not chosen.candidate.explains:
        return None
    matrix = split.test.columns(chosen.feature_names)[:MOST_ROWS]
    one, other = (_contributions(chosen, half, split.validate, matrix) for half in _halves(split.train))
    if one is None or other is None:
        return None
    main = [np.argmax(each, axis=1) for each in (one, other)]
    # From the highest down; equal ones in the order of the features, so that what adds nothing is the same nothing.
    ranked = [np.argsort(-each, axis=1, kind="stable")[:, :MAX_REASONS] for each in (one, other)]
    common = [len(np.intersect1d(*pair)) / len(pair[0]) for pair in zip(*ranked, strict=True)]
    importance = [np.abs(each).mean(axis=0) for each in (one, other)]
    return {
        "rows": len(matrix),
        "same_main_reason": round(float((main[0] == main[1]).mean()), 6),
        "reasons_in_common": round(float(np.mean(common)), 6),
        "importance_rank_correlation": round(_spearman(*importance), 6),
    }


def _halves(train: Examples) -> tuple[Examples, Examples]:
    """Every other purchase, in the order of their ids: both halves are of the whole time."""
    number = np.unique(train.event_id.astype(str), return_inverse=True)[1] % 2
    return train.take(number == 0), train.take(number == 1)


def _contributions(
    chosen: Trained, train: Examples, validate: Examples, matrix: NDArray[np.float32]
) -> NDArray[np.float64] | None:
    names, candidate = chosen.feature_names, copy.deepcopy(chosen.candidate)
    with one_thread():
        candidate.fit(names, sample_of(train, names), sample_of(validate, names))
    explanation = candidate.explanation()
    return None if explanation is None else Explainer(explanation, len(names)).contributions(matrix)


def _spearman(one: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    from scipy.stats import rankdata

    ranks = [rankdata(each) for each in (one, other)]
    if any(np.ptp(each) == 0 for each in ranks):
        return float(np.array_equal(*ranks))
    return float(np.corrcoef(*ranks)[0, 1])
