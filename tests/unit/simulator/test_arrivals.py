from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.simulator import arrivals
from services.simulator.request import StreamRequest
from tests.unit.simulator import recordings

MIDNIGHT = datetime(2026, 6, 1)  # noqa: DTZ001 - the server speaks naive times


def a_pace(frozen: bool = False, seed: int = 1, **keys: object) -> arrivals.Pace:
    request = StreamRequest.model_validate(keys)
    return arrivals.Pace(request, np.random.default_rng(seed), lambda _: 1.0, frozen=frozen)


def gaps(pace: arrivals.Pace, n: int) -> list[float]:
    due = [0.0, *(pace.take(1e9, n))]
    return np.diff(due).tolist()


def test_the_recorded_day_volumes_are_ones_that_we_could_draw() -> None:
    recorded = Counter(event["_timestamp"][:10] for event in recordings.events(recordings.HISTORY))
    request = StreamRequest(base_daily_volume=1000)
    rng = np.random.default_rng(1)
    for day, volume in recorded.items():
        drawn = [arrivals.day_volume(request, date.fromisoformat(day), rng) for _ in range(300)]
        assert min(drawn) <= volume <= max(drawn)


def test_ninety_days_span_the_range_measured_on_the_real_source() -> None:
    """2,972 to 9,270 at a base of 5,000, 439,571 in all."""
    request = StreamRequest(base_daily_volume=5000)
    rng = np.random.default_rng(3)
    volumes = [arrivals.day_volume(request, date(2026, 6, 1) + timedelta(days=k), rng) for k in range(90)]
    assert sum(volumes) == pytest.approx(439_571, rel=0.05)
    assert 2_400 < min(volumes) < 3_800
    assert 6_500 < max(volumes) < 10_500


def test_holidays_and_weekends_stand_out_only_where_asked_for() -> None:
    black_friday, saturday = date(2026, 11, 27), date(2026, 6, 6)
    assert arrivals.day_factor(black_friday, 1.2, True) == arrivals.day_factor(black_friday, 1.2, False) * 1.8
    assert arrivals.day_factor(saturday, 2.0, True) == 2.0 * arrivals.day_factor(saturday, 1.0, True)


@given(st.integers(0, 400), st.integers(0, 2**32))
def test_the_times_of_a_day_are_sorted_whole_seconds_within_it(n: int, seed: int) -> None:
    times = arrivals.times_of_day(date(2026, 6, 1), n, arrivals.hour_profile(None), np.random.default_rng(seed))
    start = 1_780_272_000 * arrivals.MICROS
    assert len(times) == n
    assert (np.diff(times) >= 0).all()
    assert all(start <= t < start + 86_400 * arrivals.MICROS and t % arrivals.MICROS == 0 for t in times.tolist())


def test_the_peak_hours_of_a_request_replace_the_usual_ones() -> None:
    profile = arrivals.hour_profile([3])
    assert profile.argmax() == 3
    assert profile.mean() == pytest.approx(1.0)


def test_uniform_events_are_evenly_spaced() -> None:
    assert gaps(a_pace(rate_per_second=1000), 50) == pytest.approx([0.001] * 50)


@pytest.mark.parametrize("pattern", ["poisson", "nhpp"])
def test_random_gaps_have_the_mean_and_spread_of_the_exponential(pattern: str) -> None:
    drawn = gaps(a_pace(rate_per_second=10, arrival_pattern=pattern), 20_000)
    assert np.mean(drawn) == pytest.approx(0.1, rel=0.03)
    assert np.std(drawn) == pytest.approx(0.1, rel=0.05)


def test_bursts_shorten_the_gaps() -> None:
    usual = np.mean(gaps(a_pace(rate_per_second=10, arrival_pattern="poisson"), 5_000))
    bursts = a_pace(rate_per_second=10, arrival_pattern="burst", burst_probability=0.5, burst_intensity=10.0)
    assert np.mean(gaps(bursts, 5_000)) == pytest.approx(0.55 * usual, rel=0.1)


def test_a_frozen_pace_repeats_one_random_gap() -> None:
    drawn = gaps(a_pace(frozen=True, rate_per_second=10, arrival_pattern="poisson"), 20)
    assert drawn == pytest.approx([drawn[0]] * 20)


def test_nothing_is_due_before_its_time_and_no_more_than_asked_at_once() -> None:
    pace = a_pace(rate_per_second=10)
    assert pace.take(0.05, 100) == []
    assert pace.take(0.35, 100) == pytest.approx([0.1, 0.2, 0.3])
    assert len(pace.take(60.0, 7)) == 7


def test_what_a_standing_reader_has_missed_is_not_made_up_for() -> None:
    pace = a_pace(rate_per_second=10)
    pace.forgive(60.0)
    assert pace.take(60.05, 100) == pytest.approx([60.0])


def clock_at(moment: datetime) -> Callable[[], datetime]:
    return lambda: moment


def test_the_rate_follows_the_hours_of_the_compressed_clock() -> None:
    request = StreamRequest(arrival_pattern="nhpp", time_compression=3600.0)
    rate = arrivals.hour_rate_of(request, MIDNIGHT, clock_at(MIDNIGHT))
    profile = arrivals.hour_profile(None)
    assert [rate(seconds + 0.5) for seconds in range(24)] == profile.tolist()


def test_a_zone_aware_start_time_fails_with_nhpp_only() -> None:
    aware = MIDNIGHT.replace(tzinfo=UTC)
    arrivals.hour_rate_of(StreamRequest(start_time=aware), MIDNIGHT, clock_at(MIDNIGHT))
    with pytest.raises(TypeError):
        arrivals.hour_rate_of(StreamRequest(start_time=aware, arrival_pattern="nhpp"), MIDNIGHT, clock_at(MIDNIGHT))
