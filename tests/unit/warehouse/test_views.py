"""Queries that views are made of, as others read from them."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from shared.warehouse import views


@pytest.mark.parametrize("query", [views.latest_verdicts, views.cancelled])
def test_what_people_said_may_be_asked_for_from_a_day_on_and_views_ask_for_all_of_it(query: Callable[..., str]) -> None:
    assert query() in views.TRAINING_EXAMPLES.sql
    some = query("kafka_timestamp >= @since", "actor = 'anna'")
    assert some.replace(" AND kafka_timestamp >= @since AND actor = 'anna'", "") == query() != some
