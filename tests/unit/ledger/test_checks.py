"""A ledger that can't find a fault proves nothing: each fault is planted once, and has to be named."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable
from typing import Any

import pytest

from services.ledger import checks
from services.ledger.book import Book
from services.ledger.checks import Mirrored
from shared.contracts.identity import partition_of
from shared.contracts.pseudonyms import Kind, Pseudonyms
from shared.feature_definitions import FEATURE_SET_VERSION, CustomerState, features_of
from tests.unit.ledger.world import (
    PARTITIONS,
    World,
    accepted,
    add_anothers_purchase,
    add_letter,
    add_letter_of_the_vector,
    balanced_world,
    only_the_first_is_judged,
    record,
    spoil_a_feature,
)


def test_a_world_in_order_balances() -> None:
    findings = balanced_world().findings()
    assert {name: finding.violations for name, finding in findings.items()} == {f"P{i}": [] for i in range(1, 9)}
    assert all(findings[name].checked > 0 for name in ("P1", "P2", "P3", "P4", "P6"))


def _decided_on_other_features(world: World) -> None:
    body = json.loads(world.decisions[1].value)
    body["features"]["amount"] = 99_999.0
    world.decisions[1] = record("risk-decisions", 1, "c1", body)


def _made_otherwise(world: World, vector: dict[str, Any]) -> None:
    """The second vector, and the decision on it."""
    world.vectors[1] = record("bnpl-features", 1, "c1", vector)
    body = json.loads(world.decisions[1].value) | {"features": vector["features"], "as_of": vector["as_of"]}
    world.decisions[1] = record("risk-decisions", 1, "c1", body)


def _event_never_arrived(world: World) -> None:
    world.acknowledged["shop"] = 3


def _decision_missing(world: World) -> None:
    del world.decisions[1]


def _decided_twice(world: World) -> None:
    other = json.loads(world.decisions[0].value) | {"decision": "decline"}
    world.decisions.append(record("risk-decisions", 2, "c1", other))


def _decision_from_nowhere(world: World) -> None:
    ghost = {"event_id": "ghost", "degraded": None, "channel": "stream", "model_version": "m1", "decision": "approve"}
    world.decisions.append(record("risk-decisions", 2, "c1", ghost))


def _row_missing(world: World) -> None:
    world.rows["flit_ml_raw.raw_bnpl_prediction_logs"].popitem()


def _row_doubled(world: World) -> None:
    rows = world.rows["flit_bnpl_raw.transactions"]
    rows[next(iter(rows))] = [Mirrored("e0"), Mirrored("e0")]


def _row_of_another_event(world: World) -> None:
    rows = world.rows["flit_bnpl_raw.transactions"]
    rows[next(iter(rows))] = [Mirrored("e1")]


def _row_that_says_something_else(world: World) -> None:
    rows = world.rows["flit_bnpl_raw.transactions"]
    rows[next(iter(rows))] = [Mirrored("e0", b"another amount")]


def _feature_left_out(world: World) -> None:
    body = json.loads(world.vectors[1].value)
    del body["features"]["is_night"]
    world.vectors[1] = record("bnpl-features", 1, "c1", body)


def _feature_of_a_checkout_wrong(world: World) -> None:
    vector = json.loads(world.vectors[1].value)
    body = json.loads(world.decisions[1].value) | {"channel": "rest", "customer_id": "c1", "as_of": vector["as_of"]}
    body["features"] = vector["features"] | {"purchases_24h": 0.0}
    body["feature_set_version"] = FEATURE_SET_VERSION
    world.decisions[1] = record("risk-decisions", 1, "c1", body)


def _vector_of_another_purchase(world: World) -> None:
    body = json.loads(world.vectors[1].value)
    body["transaction"]["amount"] = 8.25
    body["features"] |= {"amount": 8.25, "amount_to_mean_30d": 8.25 / 10.5}
    _made_otherwise(world, body)


def _vector_as_of_another_moment(world: World) -> None:
    body = json.loads(world.vectors[1].value)
    body["as_of"]["transactions"] = -1
    body["features"] = features_of(CustomerState(), accepted(world.purchases[1]))
    _made_otherwise(world, body)


def _vector_of_another_customer(world: World) -> None:
    world.vectors[0] = record("bnpl-features", 0, "c1", json.loads(world.vectors[0].value) | {"customer_id": "c2"})


def _vector_of_another_time(world: World) -> None:
    later = {"occurred_at": "2026-06-01T00:00:01.000000Z"}
    world.vectors[0] = record("bnpl-features", 0, "c1", json.loads(world.vectors[0].value) | later)


def _anothers_purchase_without_a_letter(world: World) -> None:
    add_anothers_purchase(world)


def _anothers_vector_wrong(world: World) -> None:
    place = add_anothers_purchase(world)
    body = json.loads(world.vectors[-1].value)
    body["features"]["amount_sum_24h"] = 7.0
    world.vectors[-1] = record("bnpl-features", place[1], "c2", body)
    add_letter_of_the_vector(world, place)


def _row_made_up(world: World) -> None:
    world.rows["flit_bnpl_raw.outcomes"][partition_of(b"c1", PARTITIONS), 0] = [Mirrored("e0")]


def _row_of_a_partition_that_is_not(world: World) -> None:
    world.rows["flit_ml_raw.raw_bnpl_prediction_logs"][99, 0] = [Mirrored("e0")]


def _row_behind_the_logs_end(world: World) -> None:
    place = partition_of(b"c1", PARTITIONS)
    world.scope, world.ends = {("bnpl-outcomes", place): 0}, world.ends | {("bnpl-outcomes", place): 5}
    of_later = {(place, offset): [Mirrored(f"e{offset}")] for offset in (4, 5)}
    world.rows["flit_bnpl_raw.outcomes"].update(of_later)


def _row_without_a_place(world: World) -> None:
    world.rows["flit_ml_raw.features"][checks.NOWHERE] = [Mirrored("e0")]


def _decision_that_says_nothing(world: World) -> None:
    world.decisions.append(record("risk-decisions", 2, "c1", b"{"))


def _letter_that_says_nothing(world: World) -> None:
    world.letters.append(record("dead-letters", 0, "c1", b"[]"))


def _vector_missing(world: World) -> None:
    del world.vectors[1]


def _letter_with_other_bytes(world: World) -> None:
    add_letter(world, b"{something else")


def _refused_and_yet_a_row(world: World) -> None:
    add_letter(world, b"{broken")
    world.rows["flit_bnpl_raw.transactions"][partition_of(b"c1", PARTITIONS), 2] = [Mirrored("e2")]


def _behind(world: World) -> None:
    world.lag = {"flit-sink": 3}


def _no_model_and_not_a_word(world: World) -> None:
    body = json.loads(world.decisions[0].value) | {"model_version": "none"}
    world.decisions[0] = record("risk-decisions", 0, "c1", body)


def _rebuilding_and_not_a_word(world: World) -> None:
    body = json.loads(world.vectors[0].value) | {"state": "rebuilding"}
    world.vectors[0] = record("bnpl-features", 0, "c1", body)


@pytest.mark.parametrize(
    ("plant", "names"),
    [
        (_event_never_arrived, {"P1"}),
        (_decision_missing, {"P2", "P3", "P6"}),
        (_decided_twice, {"P2", "P3"}),
        (_decision_from_nowhere, {"P2", "P3"}),
        (_row_missing, {"P3", "P6"}),
        (_row_doubled, {"P3"}),
        (_row_made_up, {"P3"}),
        (_row_of_a_partition_that_is_not, {"P3"}),
        (_row_behind_the_logs_end, {"P3"}),
        (_row_without_a_place, {"P3"}),
        (_row_of_another_event, {"P3"}),
        (_row_that_says_something_else, {"P3"}),
        (_decided_on_other_features, {"P4"}),
        (spoil_a_feature, {"P4"}),
        (_feature_left_out, {"P4"}),
        (_vector_of_another_purchase, {"P4"}),
        (_vector_as_of_another_moment, {"P4"}),
        (_vector_of_another_customer, {"P2", "P4"}),
        (_anothers_purchase_without_a_letter, {"P2"}),
        (_anothers_vector_wrong, {"P4"}),
        (_vector_of_another_time, {"P4"}),
        (_feature_of_a_checkout_wrong, {"P4"}),
        (_vector_missing, {"P3", "P5", "P6"}),
        (_letter_with_other_bytes, {"P5"}),
        (_decision_that_says_nothing, {"P5"}),
        (_letter_that_says_nothing, {"P5"}),
        (_refused_and_yet_a_row, {"P3"}),
        (_behind, {"P7"}),
        (_no_model_and_not_a_word, {"P8"}),
        (_rebuilding_and_not_a_word, {"P8"}),
    ],
)
def test_a_planted_fault_is_found_by_the_check_it_breaks(plant: Callable[[World], None], names: set[str]) -> None:
    world = balanced_world()
    plant(world)
    found = world.broken()
    assert found >= names - {"P3"} if plant in (_decision_missing, _vector_missing) else found == names


def test_the_features_of_a_checkout_are_held_against_its_own_customers_purchase() -> None:
    world, other = balanced_world(), partition_of(b"c2", PARTITIONS)
    at = 0 if other != partition_of(b"c1", PARTITIONS) else 2
    foreign = world.purchases[0] | {"customer_id": "c2", "amount": 3.0}
    world.transactions.insert(0, record("bnpl-transactions", at, "c2", foreign))
    for table in checks.TABLES["bnpl-transactions"]:
        world.rows[table][other, at] = [Mirrored("e0")]
    decided = json.loads(world.decisions[0].value) | {"channel": "rest", "customer_id": "c1"}
    decided["feature_set_version"] = FEATURE_SET_VERSION
    world.decisions[0] = record("risk-decisions", 0, "c1", decided)
    assert world.broken() == set()


def test_a_refused_record_with_its_own_bytes_balances() -> None:
    world = balanced_world()
    add_letter(world, b"{broken")
    assert all(finding.balanced for finding in world.findings().values())


@pytest.mark.parametrize(("line", "balanced"), [(-1, True), (7, False)])
def test_each_outage_of_a_source_has_its_own_page_and_each_line_its_own_bytes(line: int, balanced: bool) -> None:
    world = balanced_world()
    for number, page in enumerate((b"<html>one</html>", b"<html>two</html>")):
        letter = {
            "reason": "syntax", "topic": "simtom/bnpl/2026-06-01.7", "partition": -1, "offset": line,
            "value_base64": base64.b64encode(page).decode(), "value_sha256": hashlib.sha256(page).hexdigest(),
        }  # fmt: skip
        world.letters.append(record("dead-letters", number, "c1", letter))
    place = partition_of(b"c1", PARTITIONS)
    world.rows["flit_ml_raw.dead_letters"] = {(place, number): [Mirrored(None)] for number in range(2)}
    assert ("P5" in world.broken()) is not balanced


def test_a_repeat_of_the_same_bytes_is_the_same_decision() -> None:
    world = balanced_world()
    world.decisions.append(record("risk-decisions", 2, "c1", world.decisions[0].value))
    place = partition_of(b"c1", PARTITIONS)
    world.rows["flit_ml_raw.raw_bnpl_prediction_logs"][place, 2] = [Mirrored("e0")]
    assert all(finding.balanced for finding in world.findings().values())


def test_what_came_in_after_the_audit_began_owes_nothing_yet() -> None:
    world = balanced_world()
    only_the_first_is_judged(world)
    del world.vectors[1], world.decisions[1]
    for rows in world.rows.values():
        rows.pop((partition_of(b"c1", PARTITIONS), 1), None)
    assert all(finding.balanced for finding in world.findings().values())


def test_a_decision_may_be_that_of_a_purchase_that_came_later() -> None:
    world = balanced_world()
    only_the_first_is_judged(world)
    assert all(finding.balanced for finding in world.findings().values())


def test_the_row_of_a_record_that_came_after_the_audit_began_is_nobodys_fault() -> None:
    world = balanced_world()
    _row_behind_the_logs_end(world)
    (told,) = world.findings()["P3"].violations
    assert "5)" in told and "4)" not in told


def test_that_rest_was_not_compared_is_said() -> None:
    book = balanced_world().book()
    assert checks.one_decision(book, {}).balanced is True
    assert checks.one_decision(book, {}, "REST answers 401").balanced is None


PSEUDONYMS = Pseudonyms(b"k" * 32)
OTHERS = Pseudonyms(b"o" * 32)


@pytest.mark.parametrize(
    ("customer", "balanced"),
    [
        (PSEUDONYMS.of(Kind.CUSTOMER, "c1"), True),
        ("c1", True),  # of before they were switched on
        (OTHERS.of(Kind.CUSTOMER, "c1"), None),  # of before the key was changed
        (PSEUDONYMS.of(Kind.CUSTOMER, "c2"), False),
        ("c2", False),
    ],
    ids=["of this key", "by his id", "of another key", "another customer's", "another customer's id"],
)
def test_a_vector_under_a_pseudonym_is_its_customers_as_far_as_the_key_can_tell(
    customer: str, balanced: bool | None
) -> None:
    world = balanced_world()
    book = Book(PARTITIONS, pseudonyms=PSEUDONYMS)
    others = record("bnpl-transactions", 9, "c2", world.purchases[0] | {"customer_id": "c2", "event_id": "e9"})
    for each in (*world.transactions, others):
        book.add(each)
    for offset, vector in enumerate(world.vectors):
        changed = json.loads(vector.value) | {"customer_id": customer}
        book.add(record("bnpl-features", offset, "c1", changed))
    finding = checks.recomputed_features(book)
    assert finding.balanced is balanced, (finding.violations, finding.not_checkable)


@pytest.mark.parametrize("given", [{"event_id": " ", "source": "shop"}, {"source": ""}, {"event_id": None}])
def test_ids_are_derived_as_the_doors_derive_them(given: dict[str, Any]) -> None:
    body = {
        "transaction_id": "t9", "customer_id": "c1", "occurred_at": "2026-06-01T00:09:00.000000Z", "amount": 1.0,
        "currency": "USD", "status": "completed", **given,
    }  # fmt: skip
    book = Book(PARTITIONS, {})
    book.add(record("bnpl-transactions", 0, "c1", body))
    assert list(book.purchases) == [accepted(body).transaction.event_id]


def test_what_is_judged_is_judged_as_ever() -> None:
    world = balanced_world()
    only_the_first_is_judged(world)
    del world.decisions[0]
    findings = world.findings()
    assert not findings["P2"].balanced
    assert not findings["P6"].balanced


@pytest.mark.parametrize(
    ("erased", "balanced"), [(frozenset[str](), False), (frozenset({"e0"}), True), (frozenset({"e1"}), False)]
)
def test_features_of_a_state_begun_anew_balance_only_after_an_erased_purchase(
    erased: frozenset[str], balanced: bool
) -> None:
    world = balanced_world()
    body = json.loads(world.vectors[1].value)
    body["features"] = features_of(CustomerState(), accepted(world.purchases[1]))
    _made_otherwise(world, body)
    world.erased = erased
    assert world.findings()["P4"].balanced == balanced


def test_features_that_are_wrong_are_found_of_an_erased_customer_too() -> None:
    world = balanced_world()
    body = json.loads(world.vectors[1].value)
    body["features"]["purchases_30d"] = 7.0
    world.vectors[1] = record("bnpl-features", 1, "c1", body)
    world.erased = frozenset({"e0"})
    assert not world.findings()["P4"].balanced


@pytest.mark.parametrize(("amount", "balanced"), [(0.0, True), (0.01, False)])
def test_a_vector_from_before_a_feature_was_added_is_compared_on_the_others(amount: float, balanced: bool) -> None:
    world = balanced_world()
    _feature_left_out(world)
    body = json.loads(world.vectors[1].value) | {"feature_set_version": "1-before"}
    body["features"]["amount_sum_24h"] += amount
    _made_otherwise(world, body)
    assert world.findings()["P4"].balanced == balanced
