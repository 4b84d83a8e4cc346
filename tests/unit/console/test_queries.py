"""What the console asks: every question is bounded, and no text of others becomes SQL."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from services.console.queries import cases, decisions, letters, models, review
from services.console.queries.query import DAY_S, Query
from shared.warehouse import tables

SINCE, UNTIL = datetime(2026, 6, 1, tzinfo=UTC), datetime(2026, 6, 2, tzinfo=UTC)
INJECTION = "x' OR TRUE --"

LISTS = (
    decisions.policy_in_service(SINCE),
    decisions.latest(SINCE, 10),
    decisions.one("event", SINCE, UNTIL),
    decisions.of_events(["event"], SINCE),
    decisions.purchases(["event"], SINCE, UNTIL),
    decisions.purchases_of("customer", SINCE),
    decisions.outcomes_of("customer", SINCE),
    decisions.said_of("event", SINCE),
    review.waiting(SINCE, 10),
    review.given(SINCE, 10),
    models.evaluations(SINCE),
    models.performance(SINCE),
    models.comparisons(SINCE),
    models.drift(SINCE, 7, "reference"),
    letters.latest(SINCE, "syntax", 10),
    letters.one(0, 1, SINCE),
    cases.matured(SINCE, UNTIL, UNTIL, [cases.Day(SINCE, 3000, SINCE, UNTIL)]),
)
AGGREGATES = (
    decisions.mix(SINCE, UNTIL, 60),
    decisions.newest(SINCE),
    decisions.decided("event", SINCE),
    review.how_many_wait(SINCE),
    letters.by_reason_and_day(SINCE),
    cases.decided_between(SINCE, UNTIL),
    cases.clock(SINCE),
    cases.watched(SINCE),
)
TABLES = {table.id: table for table in tables.ALL}


@pytest.mark.parametrize("query", [*LISTS, *AGGREGATES], ids=range(len(LISTS) + len(AGGREGATES)))
def test_every_table_that_is_read_is_cut_to_its_days(query: Query) -> None:
    read = [table for name, table in TABLES.items() if f".{name}`" in query.sql]
    assert read
    main = read[0] if len(read) == 1 else tables.DECISIONS
    assert f"{main.partition_by} >= @" in query.sql
    names = {name for name, _ in query.values}
    assert all(f"@{name}" in query.sql for name in names)


@pytest.mark.parametrize("query", LISTS, ids=range(len(LISTS)))
def test_every_list_has_an_end(query: Query) -> None:
    by_id = any(name in {"event", "events", "customer"} for name, _ in query.values)
    assert "LIMIT " in query.sql or by_id


@pytest.mark.parametrize(
    "query",
    [
        decisions.one(INJECTION, SINCE, UNTIL),
        decisions.decided(INJECTION, SINCE),
        decisions.of_events([INJECTION], SINCE),
        decisions.purchases([INJECTION], SINCE, UNTIL),
        decisions.purchases_of(INJECTION, SINCE),
        decisions.outcomes_of(INJECTION, SINCE),
        decisions.said_of(INJECTION, SINCE),
        letters.latest(SINCE, INJECTION, 10),
    ],
)
def test_text_of_others_is_a_value_and_never_sql(query: Query) -> None:
    assert INJECTION not in query.sql
    assert any(value == INJECTION or (isinstance(value, tuple) and INJECTION in value) for _, value in query.values)


def test_the_same_question_is_the_same_value() -> None:
    assert decisions.mix(SINCE, UNTIL, 60) == decisions.mix(SINCE, UNTIL, 60)
    assert hash(decisions.mix(SINCE, UNTIL, 60)) != hash(decisions.mix(SINCE, UNTIL, 30))


def days(*decisions: int) -> list[cases.Day]:
    first = int(SINCE.timestamp()) // DAY_S
    rows = [
        {"day": first + number, "decisions": count, "first": SINCE, "last": UNTIL}
        for number, count in enumerate(decisions)
    ]
    return cases.days_of(rows)


def test_so_many_days_are_drawn_as_have_the_decisions_that_may_be_read() -> None:
    assert cases.drawn(days(), 100) == []
    assert cases.drawn(days(40, 60), 100) == days(40, 60)
    assert [day.begins.day for day in cases.drawn(days(*[50] * 12), 100)] == [4, 10]
    assert cases.drawn(days(1, 10**9), 100) == days(1, 10**9)[1:]


def test_days_that_are_drawn_are_no_single_day_of_the_week() -> None:
    weeks = cases.drawn(days(*[100] * 70), 1000)
    assert len({day.begins.weekday() for day in weeks}) == 7


def test_cases_are_read_of_their_days_alone() -> None:
    sql = cases.matured(SINCE, UNTIL, UNTIL, days(2500, 0, 2500)).sql
    assert "prediction_timestamp >= TIMESTAMP '2026-06-01T00:00:00+00:00'" in sql
    assert "prediction_timestamp < TIMESTAMP '2026-06-04T00:00:00+00:00'" in sql
    assert "MOD(kafka_offset, 5) = 0" in sql
