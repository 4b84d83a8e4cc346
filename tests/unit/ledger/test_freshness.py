"""Features of states that were minutes behind, by the times of the records."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from aiokafka import ConsumerRecord

from services.ledger.freshness import SLACK_MS, Freshness
from tests.unit.ledger.world import World, balanced_world, record

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


def test_an_outcome_of_an_old_time_is_asked_for_only_once_it_lacks_for_as_long() -> None:
    """Whoever publishes it may write any time into its record."""
    fresh = Freshness()
    vectors(outcomes=-1, seconds=range(10), fresh=fresh)
    fresh.outcome(0, 0, T - 3600 * SECOND)
    vectors(outcomes=-1, seconds=range(500, 501), start=20, fresh=fresh)
    vectors(outcomes=0, seconds=range(501, 800), start=21, fresh=fresh)
    assert fresh.stale == []


@pytest.mark.parametrize("shift", [-3600, 3600])
def test_a_clock_that_is_wrong_for_a_while_is_no_fault(shift: int) -> None:
    fresh = Freshness()
    for second in range(600):
        wrong = shift * SECOND if 200 <= second < 245 else 0
        fresh.outcome(0, second, T + second * SECOND)
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
