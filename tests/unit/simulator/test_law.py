from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.simulator import law
from tests.unit.simulator import recordings

SHARES = st.floats(0.0, 1.0)


def score_of(event: dict[str, object]) -> float:
    return law.risk_score(
        law.CREDIT[str(event["customer_credit_score_range"])],
        law.VERIFICATION[str(event["customer_verification_level"])],
        law.INCOME[str(event["customer_income_bracket"])],
        law.DEVICE_TRUSTED[bool(event["device_is_trusted"])],
        law.PRODUCT_RISK[str(event["product_risk_category"])],
        law.SCENARIO[str(event["risk_scenario"])],
    )


def test_the_score_of_every_recorded_event_is_rebuilt_to_the_last_bit() -> None:
    events = recordings.clean()
    assert len(events) == 5_813
    assert [score_of(event) for event in events] == [event["risk_score"] for event in events]


def test_every_recorded_risk_level_follows_from_its_score() -> None:
    assert all(law.risk_level(event["risk_score"]) == event["risk_level"] for event in recordings.clean())


def test_the_recorded_defaults_are_as_many_as_the_law_expects() -> None:
    events = recordings.clean()
    expected = [law.expected_rate(event["risk_score"]) for event in events]
    deviation = math.sqrt(sum(e * (1 - e) for e in expected))
    assert abs(sum(event["will_default"] for event in events) - sum(expected)) < 3 * deviation


@pytest.mark.parametrize("installments", [4, 6])
def test_the_recorded_first_missed_payments_follow_the_distribution(installments: int) -> None:
    days, shares = law.FIRST_MISSED_DAYS[installments]
    seen = Counter(
        event["days_to_first_missed_payment"]
        for event in recordings.clean()
        if event["will_default"] and event["installment_count"] == installments
    )
    assert set(seen) <= set(days)
    total = seen.total()
    distance = sum((seen[day] - total * share) ** 2 / (total * share) for day, share in zip(days, shares, strict=True))
    assert distance < 15.1, "chi-square beyond its 1% point"


def test_the_defaults_become_known_as_measured_on_the_real_source() -> None:
    known, total = Counter[int](), 20_000
    for step in range(total):
        uniform = (step + 0.5) / total
        known[law.first_missed_day(4, uniform)] += 714
        known[law.first_missed_day(6, uniform)] += 286
    shares = np.cumsum([known[day] for day in (14, 28, 42, 56, 70, 84)]) / known.total()
    assert [round(100 * share) for share in shares] == [15, 49, 79, 94, 99, 100]


def test_the_best_auc_from_the_event_is_that_of_the_real_source() -> None:
    """AUC of e itself with the labels averaged out: no draw of labels in it."""
    rates = np.sort([law.expected_rate(event["risk_score"]) for event in recordings.clean()])
    below = np.cumsum(1 - rates) - (1 - rates) / 2
    assert (rates * below).sum() / (rates.sum() * (1 - rates).sum()) == pytest.approx(0.603, abs=0.004)


def test_arrays_and_single_numbers_give_the_same_rate() -> None:
    scores = np.linspace(0.1, 0.9, 9)
    assert law.expected_rate(scores).tolist() == pytest.approx([law.expected_rate(s) for s in scores.tolist()])


@given(SHARES, SHARES)
def test_a_higher_score_is_never_less_risky(one: float, other: float) -> None:
    low, high = sorted((one, other))
    assert 0.0 < law.expected_rate(low) <= law.expected_rate(high) < law.GREATEST_PROBABILITY


@given(st.floats(0.005, 0.25), st.integers(0, 50), st.integers(0, 200), st.floats(0, 50_000), st.integers(0, 20))
def test_more_of_any_past_is_never_less_risky(rate: float, day: int, week: int, owed: float, bad: int) -> None:
    here = law.expected_rate_with_history(rate, day, week, owed, bad)
    assert 0.0 < here < 1.0
    assert here < law.expected_rate_with_history(rate, day + 1, week, owed, bad)
    assert here < law.expected_rate_with_history(rate, day, week + 1, owed, bad)
    assert here < law.expected_rate_with_history(rate, day, week, owed + 100.0, bad)
    assert here <= law.expected_rate_with_history(rate, day, week, owed, bad + 1)


def test_an_altered_law_has_the_odds_that_it_says() -> None:
    altered = law.altered_rate(0.05, 0.5)
    assert altered / (1 - altered) == pytest.approx(1.5 * 0.05 / 0.95)
    assert law.blended_weights(0.0) == law.WEIGHTS
    assert sum(law.blended_weights(0.7)) == pytest.approx(1.0)
