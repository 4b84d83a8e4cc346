"""The what-if page: of which decisions it is, and how often it asks."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
import streamlit as st

from services.console import access
from services.console.queries import cases
from services.console.queries.query import Query, Row
from tests.unit.console.test_pages import looked_at, seen
from tests.unit.warehouse.test_logged import row as logged_row

TODAY = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
NOW = TODAY + timedelta(hours=10)
TOMORROW, OLD = TODAY + timedelta(days=1), TODAY - cases.SHORTEST_TERM
HISTORY, LIVE = 45_000, 1_700_000
"""Purchases that a new stack takes over, and those of a day of `make up`."""


def decided(days_ago: int, decisions: int, bought_days_ago: int) -> Row:
    """Within ten hours of a day, on purchases of the day when they were made."""
    began, first = (TODAY - timedelta(days=ago) for ago in (days_ago, bought_days_ago))
    return {
        "day": 0, "decisions": decisions, "began": began, "ended": began + timedelta(hours=10), "first": first,
        "last": first + timedelta(hours=10),
    }  # fmt: skip


class Warehouse:
    """Of decisions on purchases before and after one may have matured, and in the parts of days that are asked for."""

    def __init__(self) -> None:
        self.asked: list[Query] = []
        self.old: list[Row] = []
        self.young: list[Row] = [decided(0, LIVE, 0)]
        self.parts: list[Row] = []

    def rows(self, query: Query) -> list[Row]:
        self.asked.append(query)
        if "AS moment" in query.sql:
            # The latest purchase is of these days; what is looked for of late isn't always there at once.
            lately = dict(query.values)["since"] == access.days_back(access.LATELY_DAYS)
            return [{"moment": None if lately else NOW}]
        if "GROUP BY day" in query.sql:
            if "prediction_timestamp < TIMESTAMP" in query.sql:
                return self.parts
            return self.old if dict(query.values)["until"] == OLD else [*self.old, *self.young]
        if "AS defaulted" in query.sql:
            return [logged_row(event_id=str(n), defaulted=n % 9 == 0, probability_of_default=n / 900) for n in range(9)]
        return []

    def of(self, mark: str) -> list[Query]:
        return [query for query in self.asked if mark in query.sql]


@pytest.fixture
def warehouse(monkeypatch: pytest.MonkeyPatch) -> Iterator[Warehouse]:
    found = Warehouse()
    monkeypatch.setattr(access, "warehouse", lambda: found)
    st.cache_data.clear()
    yield found
    st.cache_data.clear()


def test_of_a_young_stack_the_history_is_decided_again_for_its_outcomes_are_known(warehouse: Warehouse) -> None:
    warehouse.old = [decided(3, HISTORY, 90)]
    said = seen(looked_at("what_if"))
    assert f"9 of {HISTORY:,} decisions, on purchases made up to {TODAY - timedelta(days=90):%Y-%m-%d}" in said
    assert "Earns most" in said
    [question] = warehouse.of("AS defaulted")
    assert dict(question.values)["until"] == OLD
    assert len(warehouse.of("GROUP BY day")) == 1, "and nothing was cut"


def test_where_no_purchase_can_have_matured_what_there_is_is_decided_again(warehouse: Warehouse) -> None:
    warehouse.young = [decided(1, 60, 1), decided(0, 40, 0)]
    assert f"9 of 100 decisions, on purchases made up to {TODAY:%Y-%m-%d}" in seen(looked_at("what_if"))
    [question] = warehouse.of("AS defaulted")
    assert dict(question.values)["until"] == TOMORROW


def test_of_busy_days_it_is_said_that_they_were_read_in_part(warehouse: Warehouse) -> None:
    warehouse.old = [decided(20, HISTORY, 90), *(decided(19 - n, LIVE // 10, 19 - n) for n in range(3))]
    warehouse.parts = [decided(19, 49_000, 19), decided(18, 51_000, 18)]
    said = seen(looked_at("what_if"))
    assert f"9 of {HISTORY + 100_000:,} decisions of 3 days out of 4, 2 of them in part, on purchases" in said
    assert f"made up to {TODAY - timedelta(days=18):%Y-%m-%d}" in said
    parts = warehouse.of("prediction_timestamp < TIMESTAMP")[0]
    assert parts.sql.count("prediction_timestamp < TIMESTAMP") == 3 and dict(parts.values)["until"] == OLD


def test_of_one_busy_day_too(warehouse: Warehouse) -> None:
    warehouse.parts = [decided(0, 199_000, 0)]
    assert "9 of 199,000 decisions of 1 day out of 1, each in part, on purchases" in seen(looked_at("what_if"))


def test_where_nothing_was_decided_that_is_said(warehouse: Warehouse) -> None:
    warehouse.young = []
    assert "nothing to decide again" in seen(looked_at("what_if"))
    assert warehouse.of("AS defaulted") == []


def test_a_second_look_asks_the_warehouse_nothing(warehouse: Warehouse) -> None:
    warehouse.old = [decided(19 - n, LIVE, 19 - n) for n in range(2)]
    warehouse.parts = [decided(19, 100_000, 19)]
    test = looked_at("what_if")
    asked = len(warehouse.asked)
    assert asked >= 7
    test.slider(key="decline_above").set_value(0.1).run()
    assert len(warehouse.asked) == asked
