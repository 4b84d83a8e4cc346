from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.bench.rounds import ENOUGH_S, FEWEST, numbered


def taking(seconds: float) -> Callable[[], float]:
    """A clock that is looked at once a round, each of which takes so long."""
    now = -seconds

    def clock() -> float:
        nonlocal now
        now += seconds
        return now

    return clock


@pytest.mark.parametrize(
    ("most", "warming_up", "each_s", "expected"),
    [(5, 0, 1.0, 5), (5, 1, 1.0, 6), (5, 0, ENOUGH_S, FEWEST + 1), (5, 1, 10 * ENOUGH_S, 1 + FEWEST), (2, 0, 1e6, 2)],
)
def test_slow_rounds_are_fewer_but_have_a_median(most: int, warming_up: int, each_s: float, expected: int) -> None:
    clock = taking(each_s)
    numbers = list(numbered(most, warming_up=warming_up, clock=clock))
    assert numbers == list(range(expected))
