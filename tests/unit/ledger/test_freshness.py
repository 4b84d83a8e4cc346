"""Features of states that were minutes behind, by the times of the records."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from aiokafka import ConsumerRecord

from services.ledger.freshness import BROKERS_TIME, SLACK_MS, Began, Freshness
from shared.contracts.identity import partition_of
from tests.unit.ledger.world import PARTITIONS, World, balanced_world, record

SECOND = 1_000
T = 1_780_000_000_000


def vectors(*, outcomes: int, seconds: range, start: int = 0, fresh: Freshness) -> None:
    for number, second in enumerate(seconds):
        as_of = {"transactions": start + number - 1, "outcomes": outcomes}
        fresh.vector(0, f"e{start + number}", as_of, T + second * SECOND)


def test_outcomes_that_nobody_takes_in_are_found_after_a_while() -> None:
    fresh = Freshness()
    fresh.outcome(0, 0, T)
    vectors(outcomes=-1, seconds=range(0, 241, 10), fresh=fresh)
    assert fresh.stale == []
    vectors(outcomes=-1, seconds=range(250, 300, 10), start=50, fresh=fresh)
    assert fresh.stale


def test_who_takes_outcomes_in_slowly_is_late_and_nothing_worse() -> None:
    fresh = Freshness()
    for offset in range(100):
        fresh.outcome(0, offset, T)
    for minute in range(1, 60):
        fresh.vector(0, f"e{minute}", {"transactions": minute, "outcomes": minute - 1}, T + minute * 60 * SECOND)
    assert fresh.stale == []


def fed_at_night(fresh: Freshness, kind_of_time: int = 0) -> None:
    """An outcome of an hour ago comes 500 seconds on. Outcomes first: an audit reads all of them before any vector."""
    fresh.outcome(0, 0, T - 3600 * SECOND, kind_of_time)
    vectors(outcomes=-1, seconds=range(501), fresh=fresh)
    vectors(outcomes=0, seconds=range(501, 800), start=501, fresh=fresh)


def test_an_outcome_of_an_old_time_is_asked_for_only_once_it_lacks_for_as_long() -> None:
    """Whoever publishes it may write any time into its record: until a vector knows it nothing proves it there."""
    fresh = Freshness()
    fed_at_night(fresh)
    assert fresh.stale == []
    assert len(fresh.not_checkable) == 1
    assert fresh.not_checkable[0].startswith(
        "e121: its vector knows outcomes up to -1, of 0 by their own times, as 379"
    )


def test_by_the_brokers_own_clock_it_was_there() -> None:
    fresh = Freshness()
    fed_at_night(fresh, BROKERS_TIME)
    assert len(fresh.stale) == 380
    assert fresh.not_checkable == []


def test_an_old_time_says_nothing_of_when_the_next_outcomes_are_not_taken_in() -> None:
    fresh = Freshness()
    fresh.outcome(0, 1, T + 600 * SECOND)
    fed_at_night(fresh)
    vectors(outcomes=0, seconds=range(800, 1200), start=800, fresh=fresh)
    assert len(fresh.stale) == 1200 - 842
    assert fresh.stale[0] == "e842: its vector knows outcomes up to 0, of 1"


def test_states_that_forget_outcomes_are_found_though_they_come_to_know_them_again() -> None:
    fresh = Freshness()
    for offset in range(6):
        fresh.outcome(0, offset, T + 9_000 * SECOND)  # of a clock that is fast
    vectors(outcomes=5, seconds=range(130), fresh=fresh)
    vectors(outcomes=2, seconds=range(130, 400), start=130, fresh=fresh)
    vectors(outcomes=5, seconds=range(400, 500), start=400, fresh=fresh)
    assert fresh.stale[:1] == ["e251: its vector knows outcomes up to 2, of 5"]
    assert len(fresh.stale) == 400 - 251


def test_one_vector_of_long_ago_amid_a_doubt_is_nothing_yet() -> None:
    """It was refused, say, and sent again by hand."""
    fresh = Freshness()
    for offset in range(3):
        fresh.outcome(0, offset, T - 3600 * SECOND)
    vectors(outcomes=1, seconds=range(400), fresh=fresh)
    vectors(outcomes=0, seconds=range(400, 401), start=400, fresh=fresh)
    vectors(outcomes=2, seconds=range(401, 500), start=401, fresh=fresh)
    assert fresh.stale == []


@pytest.mark.parametrize(("later", "found"), [(2, True), (60, False), (3600, False)])
def test_outcomes_behind_the_last_purchase_may_be_younger_than_it(later: int, found: bool) -> None:
    """Where purchases go on until the audit begins they can't, but for these seconds."""
    fresh = Freshness(Began(T + (300 + later) * SECOND, {0: 1}))
    fresh.outcome(0, 0, T - 3600 * SECOND)
    vectors(outcomes=-1, seconds=range(300), fresh=fresh)
    assert (len(fresh.stale) == 179, len(fresh.not_checkable)) == (found, 0 if found else 1)


def test_what_came_after_the_audit_began_is_not_asked_for() -> None:
    fresh = Freshness(Began(T + 300 * SECOND, {0: 7}))
    fresh.outcome(0, 7, T - 3600 * SECOND)
    fresh.outcome(1, 0, T - 3600 * SECOND)
    vectors(outcomes=-1, seconds=range(300), fresh=fresh)
    assert (fresh.stale, fresh.not_checkable) == ([], [])


@pytest.mark.parametrize("shift", [-3600, 3600])
def test_a_clock_that_is_wrong_for_a_while_is_no_fault(shift: int) -> None:
    fresh = Freshness()
    for second in range(600):
        fresh.outcome(0, second, T + second * SECOND)
    for second in range(600):
        wrong = shift * SECOND if 200 <= second < 245 else 0
        # Two seconds behind, all the time.
        behind, further = max(second - 2, -1), max(second - 3, -1)
        fresh.vector(0, f"e{second}", {"transactions": second - 1, "outcomes": behind}, T + second * SECOND + wrong)
        as_of = {"transactions": behind, "outcomes": further}
        fresh.asked(0, f"r{second}", as_of, T + second * SECOND + wrong, T + second * SECOND)
    assert fresh.stale == []


def test_a_checkout_that_knows_nobody_is_found() -> None:
    fresh = Freshness()
    vectors(outcomes=-1, seconds=range(300), fresh=fresh)
    seen = {"transactions": -1, "outcomes": -1}
    fresh.asked(0, "early", seen, T + 60 * SECOND, T + 60 * SECOND)
    assert fresh.stale == []
    fresh.asked(0, "late", seen, T + 200 * SECOND, T + 200 * SECOND)
    assert fresh.stale == ["late: decided as of transactions up to -1, of 79"]


def test_a_retry_whose_purchase_came_long_after_its_decision_is_not_held_against_it() -> None:
    fresh = Freshness()
    vectors(outcomes=-1, seconds=range(300), fresh=fresh)
    fresh.asked(0, "e", {"transactions": 100, "outcomes": -1}, T + (101 * SECOND + SLACK_MS), T + 299 * SECOND)
    assert fresh.stale == []


def timed(records: list[ConsumerRecord], *seconds: int) -> list[ConsumerRecord]:
    return [replace(each, timestamp=T + at * SECOND) for each, at in zip(records, seconds, strict=True)]


def blind(world: World) -> World:
    """Both purchases were decided over REST by a checkout that knew nothing of what lay before, minutes apart."""
    world.transactions = timed(world.transactions, 0, 600)
    world.vectors = timed(world.vectors, 1, 601)
    first = json.loads(world.decisions[0].value)["features"]
    own = json.loads(world.decisions[1].value)
    body = own | {"channel": "rest", "as_of": {"transactions": -1, "outcomes": -1}, "feature_set_version": "another"}
    body["features"] = first | {name: own["features"][name] for name in ("amount", "is_night")}
    world.decisions[1] = record("risk-decisions", 1, "c1", body)
    return world


def test_the_ledger_finds_it() -> None:
    found = blind(balanced_world()).findings()["P4"].violations
    assert any("decided as of transactions up to -1, of 0" in each for each in found), found


def with_an_outcome(world: World, took_in: bool) -> World:
    """Of another customer of the same partition, a day old by its own time. The last vector knows it, or none."""
    bodies = [json.loads(each.value) for each in world.vectors]
    if took_in:
        bodies[1]["as_of"]["outcomes"] = 0
    late = [*(bodies[0] | {"event_id": f"e{at}"} for at in (7, 8)), bodies[1]]
    place = world.vectors[0].partition
    vectors = [record("bnpl-features", at, "c1", body) for at, body in enumerate([bodies[0], *late])]
    world.vectors = timed(vectors, 0, 150, 300, 450)
    outcome = {"event_id": "e9", "customer_id": "c9", "observed_at": "2026-06-01T00:00:00.000000Z", "defaulted": False}
    key = next(
        key for key in (f"c{number}" for number in range(100)) if partition_of(key.encode(), PARTITIONS) == place
    )
    # In the audit's order: before any vector.
    world.transactions += timed([record("bnpl-outcomes", 0, key, outcome)], -86_400)
    return world


@pytest.mark.parametrize("took_in", [True, False])
def test_the_ledger_tells_what_is_behind_from_what_may_be(took_in: bool) -> None:
    found = with_an_outcome(balanced_world(), took_in).findings()["P4"]
    behind = [each for each in found.violations if "knows outcomes up to -1, of 0" in each]
    assert (len(behind), len(found.not_checkable)) == ((0, 1) if took_in else (3, 0)), found
