"""Whether what we draw looks like what was recorded."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from tests.unit.simulator import recordings, streams

CATEGORICAL = (
    "purchase_context",
    "risk_scenario",
    "risk_level",
    "installment_count",
    "checkout_speed",
    "cart_abandonment_count",
    "product_category",
    "product_subcategory",
    "product_brand",
    "product_bnpl_eligible",
    "product_risk_category",
    "device_type",
    "device_os",
    "device_is_trusted",
    "payment_provider",
    "payment_credit_limit",
    "will_default",
)
OF_PEOPLE = (
    "customer_age_bracket",
    "customer_income_bracket",
    "customer_credit_score_range",
    "customer_verification_level",
    "customer_address_stability",
)
NUMERIC = ("amount", "risk_score", "price_comparison_time", "time_on_site_seconds", "credit_utilization")


@pytest.fixture(scope="module")
def ours() -> list[dict[str, Any]]:
    return asyncio.run(streams.history(streams.request(end_date="2026-06-20", base_daily_volume=1000)))


def shares(values: Sequence[Any]) -> dict[Any, float]:
    return {value: count / len(values) for value, count in Counter(values).items()}


@pytest.mark.parametrize("field", CATEGORICAL)
def test_shares_are_those_of_the_recorded_events(ours: list[dict[str, Any]], field: str) -> None:
    seen = shares([event[field] for event in ours])
    recorded = shares([event[field] for event in recordings.clean()])
    assert seen.keys() == recorded.keys()
    assert {value: seen[value] for value in recorded} == pytest.approx(recorded, abs=0.03)


@pytest.mark.parametrize("field", OF_PEOPLE)
def test_shares_among_people_are_those_of_the_recorded_people(ours: list[dict[str, Any]], field: str) -> None:
    def among_people(events: Sequence[dict[str, Any]]) -> dict[Any, float]:
        return shares([*{event["customer_id"]: event[field] for event in events}.values()])

    recorded = among_people(recordings.events(recordings.HISTORY))
    assert among_people(ours) == pytest.approx(recorded, abs=0.05)


@pytest.mark.parametrize("field", NUMERIC)
def test_quantiles_are_those_of_the_recorded_events(ours: list[dict[str, Any]], field: str) -> None:
    steps = (0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95)
    seen = np.quantile([event[field] for event in ours if field in event], steps)
    recorded = [event[field] for event in recordings.clean() if field in event]
    assert seen == pytest.approx(np.quantile(recorded, steps), abs=0.2 * float(np.std(recorded)))


def test_the_states_are_the_recorded_ones(ours: list[dict[str, Any]]) -> None:
    states = {event["customer_state"] for event in recordings.clean()}
    assert {event["customer_state"] for event in ours} == states


def test_tenures_span_two_years_evenly(ours: list[dict[str, Any]]) -> None:
    tenures = [*{event["customer_id"]: event["customer_tenure_days"] for event in ours}.values()]
    assert min(tenures) >= 1 and max(tenures) <= 731
    assert np.quantile(tenures, (0.25, 0.5, 0.75)) == pytest.approx((183, 366, 549), abs=25)


def test_the_hours_of_the_day_are_as_busy_as_recorded(ours: list[dict[str, Any]]) -> None:
    seen = shares([event["_timestamp"][11:13] for event in ours])
    recorded = shares([event["_timestamp"][11:13] for event in recordings.events(recordings.HISTORY)])
    assert seen == pytest.approx(recorded, abs=0.012)


def customers(events: Sequence[dict[str, Any]]) -> list[int]:
    return [int(event["customer_id"].removeprefix("cust_")) for event in events]


def test_customers_are_numbered_as_they_first_come(ours: list[dict[str, Any]]) -> None:
    for events in (ours, recordings.events(recordings.HISTORY)):
        firsts = [*dict.fromkeys(customers(events))]
        assert firsts == list(range(1, len(firsts) + 1))


def test_as_many_purchases_as_recorded_come_from_customers_seen_before(ours: list[dict[str, Any]]) -> None:
    n = len(recordings.events(recordings.HISTORY))
    recorded = customers(recordings.events(recordings.HISTORY))
    seen = customers(ours[:n])
    assert max(seen) / n == pytest.approx(max(recorded) / n, abs=0.03)
    for times in (1, 2, 5, 10):
        few, known = (sum(c <= times for c in Counter(who).values()) / max(who) for who in (seen, recorded))
        assert few == pytest.approx(known, abs=0.05), times


def test_the_same_customer_follows_itself_as_rarely_as_recorded(ours: list[dict[str, Any]]) -> None:
    def runs(who: Sequence[int]) -> float:
        return sum(one == other for one, other in pairwise(who)) / len(who)

    n = len(recordings.events(recordings.HISTORY))
    assert runs(customers(ours[:n])) == pytest.approx(runs(customers(recordings.events(recordings.HISTORY))), abs=0.004)


@pytest.mark.parametrize(
    ("key", "prefix"), [("customer_id", "customer_"), ("device_id", "device_"), ("product_id", "product_")]
)
def test_what_belongs_to_an_id_stays_with_it(ours: list[dict[str, Any]], key: str, prefix: str) -> None:
    seen: dict[str, dict[str, Any]] = {}
    for event in ours:
        attributes = {
            name: value for name, value in event.items() if name.startswith(prefix) and not name.endswith("_id")
        }
        assert seen.setdefault(event[key], attributes) == attributes
