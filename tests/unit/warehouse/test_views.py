"""Queries that views are made of, as others read from them."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable

import pytest

from shared.warehouse import views


@pytest.mark.parametrize("query", [views.latest_verdicts, views.cancelled])
def test_what_people_said_may_be_asked_for_from_a_day_on_and_views_ask_for_all_of_it(query: Callable[..., str]) -> None:
    assert query() in views.TRAINING_EXAMPLES.sql
    some = query("kafka_timestamp >= @since", "actor = 'anna'")
    assert some.replace(" AND kafka_timestamp >= @since AND actor = 'anna'", "") == query() != some


@pytest.mark.parametrize(
    ("frequency", "count", "days"),
    [
        ("bi_weekly", 4, 56),
        (None, 6, 84),
        ("hourly", 4, 56),
        ("weekly", 4, 56),
        ("monthly", 4, 120),
        ("weekly", None, None),
    ],
)
def test_a_plan_matures_with_its_last_payment_and_never_before_a_good_loan_is_told(
    frequency: str | None, count: int | None, days: int | None
) -> None:
    """Of a weekly plan that matured after seven days an instalment only defaults would be known, for as long again."""
    purchase = "(SELECT ? AS installments_frequency, ? AS installments_count) AS t"
    [found] = sqlite3.connect(":memory:").execute(
        f"SELECT {views.plan_days('t')} FROM {purchase}",
        (frequency, count),
    )
    assert found == (days,)
