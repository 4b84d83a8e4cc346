from __future__ import annotations

import pytest

from tests.bench.latency import quantile


@pytest.mark.parametrize(
    ("took_ms", "share", "expected"),
    [
        ([2, 2, 2, 2], 0.5, 2.0),  # between one and a half and two and a half
        ([1, 2, 2, 2], 0.5, 1.5 + 1 / 3),  # the second of four: a third of the way through those of 2 ms
        ([1, 1, 3, 3], 0.75, 3.0),
        ([5], 0.999, 5.499),
    ],
)
def test_a_quantile_of_whole_milliseconds_lies_within_one(took_ms: list[int], share: float, expected: float) -> None:
    assert quantile(took_ms, share) == pytest.approx(expected)
