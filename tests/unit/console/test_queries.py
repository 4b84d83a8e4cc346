"""What the console asks: every question is bounded, and no text of others becomes SQL."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest

from services.console.queries import cases, days, decisions, letters, models, review
from services.console.queries.days import Day
from services.console.queries.query import Query
from shared.warehouse import tables
from shared.warehouse.views import AFTER_THE_FACT, FIRST_OF_PURCHASE, home

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
    cases.matured(SINCE, UNTIL, UNTIL, [Day(3000, SINCE, UNTIL, SINCE, UNTIL)]),
)
AGGREGATES = (
    decisions.mix(SINCE, UNTIL, 60),
    decisions.newest(SINCE),
    decisions.decided("event", SINCE),
    review.how_many_wait(SINCE),
    letters.by_reason_and_day(SINCE),
    days.decided_between(SINCE, UNTIL),
    days.decided_in([(SINCE, UNTIL)], SINCE, UNTIL),
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


def decided_on(*decisions: int) -> list[Day]:
    """Days one after the other with so many decisions, from one o'clock to eleven."""
    rows = [
        {
            "day": 0, "decisions": count, "began": SINCE + timedelta(days=number, hours=1),
            "ended": SINCE + timedelta(days=number, hours=11), "first": SINCE, "last": UNTIL,
        }
        for number, count in enumerate(decisions)
    ]  # fmt: skip
    return days.days_of(rows)


def begun(found: tuple[list[Day], list[days.Window]]) -> list[datetime]:
    """The midnights of the days that were drawn, whole or in part."""
    whole, windows = found
    times = [*(day.began for day in whole), *(begins for begins, _ in windows)]
    return sorted(time.replace(hour=0, minute=0, second=0, microsecond=0) for time in times)


def test_so_many_days_are_drawn_as_have_the_decisions_that_may_be_read() -> None:
    assert days.drawn(decided_on(), 100) == ([], [])
    assert days.drawn(decided_on(40, 60), 100) == (decided_on(40, 60), [])
    weeks = decided_on(*[10] * 240)
    assert days.drawn(weeks, 1000) == (weeks[::3], [])


def test_busy_days_are_drawn_in_part_rather_than_few() -> None:
    for busy in (1_000, 10_000):
        whole, windows = days.drawn(decided_on(*[busy] * 24), 1_200)
        assert whole == [] and len(windows) == days.FEWEST_DAYS
        read = sum((ends - begins) / timedelta(hours=10) * busy for begins, ends in windows)
        assert read == pytest.approx(1_200, rel=1e-6)


def test_a_quiet_day_beside_busy_ones_is_read_as_a_whole() -> None:
    """As that of a new stack's history is, of which outcomes are known."""
    quiet, busy = decided_on(30, 10**6)
    whole, windows = days.drawn([quiet, busy], 100)
    assert whole == [quiet]
    [(begins, ends)] = windows
    assert busy.began <= begins < ends <= busy.ended
    assert ends - begins == pytest.approx(timedelta(hours=10) * 50 / 10**6, abs=days.INSTANT)


def test_a_part_of_a_day_is_each_day_another_hour_and_within_its_decisions() -> None:
    found = decided_on(*[10_000] * 24)
    _, windows = days.drawn(found, 1_200)
    hours = sorted((begins - found[0].began) % timedelta(days=1) / timedelta(hours=1) for begins, _ in windows)
    assert max(later - earlier for earlier, later in pairwise([0.0, *hours, 10.0])) < 2.5
    for (begins, ends), day in zip(windows, found[::2], strict=True):
        assert day.began <= begins < ends <= day.ended + days.INSTANT


def test_decisions_of_one_moment_are_in_their_part() -> None:
    moment = replace(decided_on(10**6)[0], began=SINCE, ended=SINCE)
    assert days.drawn([moment], 100) == ([], [(SINCE, SINCE + days.INSTANT)])


def test_no_more_days_are_drawn_than_bigquery_may_read_as_a_whole() -> None:
    for busy in (400_000, 1_700_000):
        drawn = begun(days.drawn(decided_on(*[busy] * 106)))
        assert days.MOST_BILLED / 2 < len(drawn) * busy < days.MOST_BILLED + busy


def test_the_oldest_day_is_drawn_for_most_has_matured_of_it() -> None:
    for count in (1, 12, 36, 240):
        assert begun(days.drawn(decided_on(*[100] * count), 1000))[0] == SINCE


def test_days_that_are_drawn_are_no_single_day_of_the_week() -> None:
    drawn = begun(days.drawn(decided_on(*[100] * 90), 1000))
    assert len({day.weekday() for day in drawn}) == 7


def test_parts_of_days_are_counted_in_their_own_time() -> None:
    windows = [(SINCE + timedelta(hours=hour), SINCE + timedelta(hours=hour + 1)) for hour in (3, 30)]
    sql = days.decided_in(windows, SINCE, UNTIL).sql
    for begins, ends in windows:
        assert f"prediction_timestamp >= TIMESTAMP '{begins.isoformat()}'" in sql
        assert f"prediction_timestamp < TIMESTAMP '{ends.isoformat()}'" in sql


def test_cases_are_read_of_their_days_alone() -> None:
    sql = cases.matured(SINCE, UNTIL, UNTIL, decided_on(2500, 0, 2500)).sql
    assert "prediction_timestamp >= TIMESTAMP '2026-06-01T01:00:00+00:00'" in sql
    assert "prediction_timestamp < TIMESTAMP '2026-06-03T11:00:00.000001+00:00'" in sql
    assert "MOD(kafka_offset, 5) = 0" in sql


def test_what_was_decided_after_the_fact_waits_for_nobody() -> None:
    for query in (review.waiting(SINCE, 10), review.how_many_wait(SINCE)):
        assert f"AND NOT {AFTER_THE_FACT}" in query.sql


def test_of_two_purchases_under_one_event_id_both_are_told_with_where_they_lie() -> None:
    sql = decisions.purchases(["event"], SINCE, UNTIL).sql
    assert FIRST_OF_PURCHASE in sql and f"{home()} AS home" in sql
    assert f"{home()} AS home" in decisions.purchases_of("customer", SINCE).sql
    of_decisions = (
        decisions.latest(SINCE, 10), decisions.one("event", SINCE, UNTIL), decisions.of_events(["event"], SINCE),
        review.waiting(SINCE, 10),
    )  # fmt: skip
    assert all(query.sql.split("FROM")[0].count("kafka_partition") == 1 for query in of_decisions)
