from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.model_artifact.manifest import (
    ArtifactFault,
    ArtifactRefused,
    Calibration,
    check_golden,
    golden_matrix,
    logit,
    sealed,
    sigmoid,
    version_of,
)
from tests.unit.model_artifact.artifacts import RAW, a_manifest

probabilities = st.floats(1e-6, 1 - 1e-6)


@given(probabilities)
def test_sigmoid_undoes_logit(probability: float) -> None:
    assert sigmoid(logit(np.asarray([probability])))[0] == pytest.approx(probability, rel=1e-9)


@given(st.floats(allow_nan=False))
def test_a_sigmoid_is_a_probability_however_large_the_score(score: float) -> None:
    assert 0.0 <= sigmoid(np.asarray([score]))[0] <= 1.0


@given(probabilities, probabilities, st.floats(0.05, 20), st.floats(-10, 10))
def test_calibration_keeps_the_order(low: float, high: float, slope: float, intercept: float) -> None:
    first, second = Calibration(slope, intercept).apply(np.asarray(sorted([low, high])))
    assert first <= second


def test_a_raw_probability_of_zero_or_one_stays_a_probability() -> None:
    assert np.isfinite(Calibration(3.0, 1.0).apply(np.asarray([0.0, 1.0]))).all()


def test_sealing_depends_on_content_alone() -> None:
    manifest = a_manifest()
    assert sealed(sealed(manifest)).version == sealed(manifest).version == version_of(manifest)
    assert version_of(a_manifest(trained_at="other", signature="x", version="y")) == version_of(manifest)
    assert version_of(a_manifest(files={"model.onnx": "0"})) != version_of(manifest)


def test_null_in_a_golden_row_reaches_the_model_as_nan() -> None:
    matrix = golden_matrix(a_manifest())
    assert matrix.dtype == np.float32
    assert np.isnan(matrix).tolist() == [[False, True], [False, False]]


@pytest.mark.parametrize("raw", [[0.05, 0.21], [0.05], [np.nan, 0.2]])
def test_another_answer_to_the_golden_inputs_is_refused(raw: list[float]) -> None:
    check_golden(a_manifest(), np.asarray(RAW))
    with pytest.raises(ArtifactRefused) as refused:
        check_golden(a_manifest(), np.asarray(raw))
    assert refused.value.reason is ArtifactFault.GOLDEN
