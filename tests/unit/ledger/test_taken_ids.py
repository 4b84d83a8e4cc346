"""Another purchase under an event id that is taken: what answers it, and what it owes."""

from __future__ import annotations

import base64
import hashlib
import json
from typing import Any

import pytest

from services.ledger.checks import Mirrored
from shared.contracts.identity import partition_of
from shared.feature_definitions import FEATURE_SET_VERSION, CustomerState, features_of
from tests.unit.ledger.world import (
    PARTITIONS,
    accepted,
    add_anothers_purchase,
    add_letter_of_the_vector,
    add_second_body,
    balanced_world,
    record,
)


def test_anothers_purchase_under_a_taken_id_is_answered_by_a_letter_and_keeps_its_rows() -> None:
    world = balanced_world()
    add_letter_of_the_vector(world, add_anothers_purchase(world))
    assert all(finding.balanced for finding in world.findings().values())


def test_a_purchase_whose_id_was_claimed_for_one_that_never_came_is_answered_by_its_letter() -> None:
    world = balanced_world()
    place = add_anothers_purchase(world, "e9")
    world.acknowledged["shop"] = 3
    assert world.broken() == {"P2", "P6"}
    add_letter_of_the_vector(world, place)
    assert world.broken() == set()


def test_many_that_were_refused_for_claims_that_nobody_published_are_no_chance() -> None:
    world = balanced_world()
    for offset in range(11):
        place = add_anothers_purchase(world, f"e{20 + offset}", offset=offset)
        add_letter_of_the_vector(world, place)
    assert world.findings()["P2"].violations


def test_a_missing_decision_is_missing_though_anothers_vector_of_that_id_was_refused() -> None:
    world = balanced_world()
    add_letter_of_the_vector(world, add_anothers_purchase(world))
    del world.decisions[0]
    assert {"P2", "P6"} <= world.broken()


def test_a_checkout_is_held_against_the_body_that_it_decided_on_though_the_other_was_the_first_on_the_topic() -> None:
    """The features service took the other body in, and refused this one."""
    world = balanced_world()
    place = partition_of(b"c1", PARTITIONS)
    asked = world.purchases[1] | {"amount": 3.0}
    world.transactions.append(record("bnpl-transactions", 2, "c1", asked))
    letter = {
        "reason": "conflict", "topic": "bnpl-transactions", "partition": place, "offset": 2,
        "value_base64": base64.b64encode(world.transactions[-1].value).decode(),
        "value_sha256": hashlib.sha256(world.transactions[-1].value).hexdigest(),
    }  # fmt: skip
    world.letters.append(record("dead-letters", 0, "c1", letter))
    world.rows["flit_ml_raw.dead_letters"] = {(place, 0): [Mirrored(None)]}
    state = CustomerState()
    state.add_purchase(accepted(world.purchases[0]))
    decided = json.loads(world.decisions[1].value) | {"channel": "rest", "feature_set_version": FEATURE_SET_VERSION}
    world.decisions[1] = record("risk-decisions", 1, "c1", decided | {"features": features_of(state, accepted(asked))})
    assert world.broken() == set()
    wrong = features_of(state, accepted(asked)) | {"purchases_24h": 7.0}
    world.decisions[1] = record("risk-decisions", 1, "c1", decided | {"features": wrong})
    assert world.broken() == {"P4"}


def test_another_body_of_the_same_customer_is_told_of_or_missed() -> None:
    """By its own letter (above), or by that of its vector."""
    world = balanced_world()
    add_second_body(world, world.purchases[1] | {"amount": 3.0})
    assert world.broken() == {"P5"}
    vector = json.loads(world.vectors[1].value)
    vector |= {"transaction": world.purchases[1] | {"amount": 3.0}, "as_of": {"transactions": 1, "outcomes": -1}}
    world.vectors.append(record("bnpl-features", 2, "c1", vector))
    add_letter_of_the_vector(world, (partition_of(b"c1", PARTITIONS), 2))
    assert "P5" not in world.broken()


@pytest.mark.parametrize("again", [{}, {"amount": 11.500000001}, {"loyalty": "gold"}], ids=str)
def test_the_same_purchase_again_needs_no_letter(again: dict[str, Any]) -> None:
    world = balanced_world()
    add_second_body(world, world.purchases[1] | again)
    assert world.broken() == set()


@pytest.mark.parametrize("erased", [frozenset({"e1"}), frozenset()])
def test_of_an_erased_customer_nobody_knows_what_came_before(erased: frozenset[str]) -> None:
    world = balanced_world()
    add_second_body(world, world.purchases[1] | {"occurred_at": "2026-06-01T09:00:00.000000Z"})
    world.erased = erased
    assert ("P5" in world.broken()) is not bool(erased)


def test_a_vector_that_was_refused_otherwise_has_no_row() -> None:
    world = balanced_world()
    add_letter_of_the_vector(world, add_anothers_purchase(world, "e9"), "range")
    assert "P3" in world.broken()
