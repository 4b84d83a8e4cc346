from __future__ import annotations

import numpy as np
import pytest

from services.trainer.export import run_onnx
from shared.model_artifact.explanation import contributions
from shared.model_artifact.manifest import sigmoid
from tests.unit.trainer.families.fitted import fitted, parts

LINEAR = ("logistic", "ridge", "elastic-net")


@pytest.mark.parametrize("family", LINEAR)
@pytest.mark.parametrize("beyond", [-1e30, -1e6, 1e6, 1e30])
def test_what_lies_beyond_what_was_learnt_from_counts_as_the_end_of_it(family: str, beyond: float) -> None:
    train, _ = parts()
    candidate, empty = fitted(family), np.isnan(train.features).all(axis=0)
    seen = np.where(empty, np.float32(0), train.features)
    ends = np.nanmin(seen, axis=0) if beyond < 0 else np.nanmax(seen, axis=0)
    rows = np.repeat(np.nanmedian(seen, axis=0)[None, :], 2 * seen.shape[1], axis=0).astype(np.float32)
    for column in range(seen.shape[1]):
        rows[2 * column, column], rows[2 * column + 1, column] = beyond, ends[column]
    model, explanation = candidate.export_onnx(), candidate.explanation()
    assert explanation is not None
    base, added = contributions(explanation, rows)
    for answers in (candidate.raw_probability(rows), run_onnx(model, rows), sigmoid(base + added.sum(axis=1))):
        np.testing.assert_allclose(answers[::2], answers[1::2], rtol=1e-6)
    np.testing.assert_allclose(run_onnx(model, rows), candidate.raw_probability(rows), atol=2e-6)
