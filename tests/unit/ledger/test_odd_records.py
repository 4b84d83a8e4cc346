"""Records that no service would have let in, and none of which may end an audit."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest

from shared.contracts.identity import partition_of
from shared.feature_definitions import FEATURE_SET_VERSION
from tests.unit.ledger.world import PARTITIONS, add_letter, balanced_world, only_the_first_is_judged, record

UNREADABLE: tuple[dict[str, Any] | bytes, ...] = (
    b"{", b"[1]", b"1", {"occurred_at": "2026-06-01T00:00:00Z"},
    {"event_id": "e", "transaction_id": "t", "customer_id": "c1", "occurred_at": "2026-06-01T00:00:00Z",
     "amount": "ten", "currency": "USD"},
    {"event_id": 7, "transaction_id": "t", "customer_id": "c1", "occurred_at": "2026-06-01T00:00:00Z", "amount": 1.0,
     "currency": "USD"},
)  # fmt: skip


@pytest.mark.parametrize("value", UNREADABLE)
def test_what_cannot_be_read_and_came_later_may_still_be_refused(value: dict[str, Any] | bytes) -> None:
    world = balanced_world()
    only_the_first_is_judged(world)
    world.transactions.append(record("bnpl-transactions", 2, "c1", value))
    world.scope["bnpl-outcomes", partition_of(b"c1", PARTITIONS)] = 0
    book = world.book()
    book.add(record("bnpl-outcomes", 0, "c1", value))
    assert all(finding.balanced for finding in world.findings().values())
    world.scope = {}
    assert world.broken() == {"P5"}


@pytest.mark.parametrize(
    "odd",
    [
        {"event_id": 7}, {"event_id": ["e0"]}, {"as_of": [1, 2]}, {"as_of": {"transactions": "1", "outcomes": -1}},
        {"features": "none"}, {"features": {"amount": "1"}}, {"features": [7]}, {"features": 7}, {"customer_id": 7},
    ],
    ids=str,
)  # fmt: skip
def test_a_decision_of_odd_kinds_ends_no_audit(odd: dict[str, Any]) -> None:
    world = balanced_world()
    asked = {"channel": "rest", "customer_id": "c1", "feature_set_version": FEATURE_SET_VERSION}
    world.decisions[0] = record("risk-decisions", 0, "c1", json.loads(world.decisions[0].value) | asked | odd)
    assert "P5" in world.broken()


@pytest.mark.parametrize("odd", [[7], "none", 7, {"amount": "1"}, {"amount": [1]}], ids=str)
def test_features_of_odd_kinds_end_no_audit(odd: object) -> None:
    for of_topic in ("vectors", "decisions"):
        world = balanced_world()
        records = getattr(world, of_topic)
        body = json.loads(records[0].value) | {"features": odd}
        records[0] = record(records[0].topic, 0, "c1", body)
        assert "P5" in world.broken()


@pytest.mark.parametrize("odd", [{"amount": None}, {"amount": math.nan}, {}, None], ids=str)
def test_a_decision_on_other_features_than_its_vectors_is_found_whatever_it_has_instead(odd: object) -> None:
    world = balanced_world()
    body = json.loads(world.decisions[0].value)
    body["features"] = body["features"] | odd if odd else odd
    world.decisions[0] = record("risk-decisions", 0, "c1", body)
    assert "P4" in world.broken()


@pytest.mark.parametrize("odd", [{"reason": ["x"]}, {"value_sha256": {}}, {"topic": ["a"]}, {"offset": "1"}], ids=str)
def test_a_letter_of_odd_kinds_ends_no_audit(odd: dict[str, Any]) -> None:
    world = balanced_world()
    add_letter(world, b"{broken")
    world.letters[0] = record("dead-letters", 0, "c1", json.loads(world.letters[0].value) | odd)
    assert world.broken() == {"P3", "P5"}, "the letter, and the record that is refused nowhere else"
