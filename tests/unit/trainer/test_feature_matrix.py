"""Features as the warehouse keeps them, JSON, into a matrix."""

from __future__ import annotations

import json

import numpy as np
import pyarrow
import pytest

from services.trainer import warehouse

ROWS = [{"b": float(number), "a": None if number % 3 else number / 7} for number in range(10)]


@pytest.mark.parametrize("at_once", [1, 3, 10, 11])
def test_features_come_out_the_same_however_many_are_decoded_at_once(
    at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(warehouse, "CHUNK_ROWS", at_once)
    texts = [json.dumps(row) for row in ROWS]
    stored = pyarrow.chunked_array([texts[:4], texts[4:]])
    matrix = warehouse.decoded_features(stored, ["a", "b"])
    expected = np.array([[row["a"], row["b"]] for row in ROWS], dtype=np.float64).astype(np.float32)
    assert np.array_equal(matrix, expected, equal_nan=True)


def test_a_feature_that_rows_lack_is_unknown() -> None:
    matrix = warehouse.decoded_features(pyarrow.chunked_array([[json.dumps({"a": 1.0})]]), ["z", "a"])
    assert np.array_equal(matrix, np.array([[np.nan, 1.0]], dtype=np.float32), equal_nan=True)


def test_what_a_float_cannot_hold_is_unknown() -> None:
    """A door that bounds a field from below only lets such a number in, and no library learns from infinity."""
    rows = [json.dumps({"a": value}) for value in (1e39, -1e300, None, 2.0)]
    matrix = warehouse.decoded_features(pyarrow.array(rows), ["a"])
    assert np.array_equal(matrix[:, 0], np.array([np.nan] * 3 + [2.0], dtype=np.float32), equal_nan=True)


def test_names_need_not_be_those_of_python() -> None:
    stored = pyarrow.chunked_array([[json.dumps({"a-b": 1.0, "class": None, "more": 3.0})]])
    matrix = warehouse.decoded_features(stored, ["class", "a-b"])
    assert np.array_equal(matrix, np.array([[np.nan, 1.0]], dtype=np.float32), equal_nan=True)
