"""How much is asked when."""

from __future__ import annotations

import pytest

from tests.load.driving import planned
from tests.load.shapes import BURST, DAY_PEAK, SHAPES, Rates, burst, peak


def test_a_day_begins_and_ends_quietly_and_has_its_peak_in_the_middle() -> None:
    assert [peak(t, 100.0) for t in (0, 19, 81, 99.9)] == [1.0] * 4
    assert [peak(t, 100.0) for t in (41, 50, 59)] == pytest.approx([DAY_PEAK] * 3)
    assert peak(30, 100.0) == pytest.approx((1 + DAY_PEAK) / 2)
    assert peak(70, 100.0) == pytest.approx((1 + DAY_PEAK) / 2)


def test_a_burst_lasts_ten_seconds_of_each_minute() -> None:
    loud = [second for second in range(180) if burst(second + 0.5, 180.0) == BURST]
    assert len(loud) == 30
    assert {second // 60 for second in loud} == {0, 1, 2}


@pytest.mark.parametrize("name", SHAPES)
def test_no_shape_asks_for_more_than_it_says(name: str) -> None:
    shape = SHAPES[name]
    factors = [shape.factor(second, 360.0) for second in range(360)]
    assert max(factors) == pytest.approx(shape.greatest)
    assert min(factors) == 1.0


def test_a_fifth_of_the_purchases_is_asked_over_rest() -> None:
    assert Rates.split(60) == Rates(checkouts=12, events=48)
    assert Rates.split(2) == Rates(checkouts=1, events=1)


def test_without_brokers_everything_is_asked_over_rest() -> None:
    assert Rates.split(60, events=False) == Rates(checkouts=60, events=0)


def test_the_plan_of_a_run_is_the_sum_of_its_seconds() -> None:
    assert planned("steady", Rates(12, 48), 60.0) == Rates(720, 2880)
    assert planned("burst", Rates(10, 40), 60.0) == Rates(50 * 10 + 10 * 50, 50 * 40 + 10 * 200)
