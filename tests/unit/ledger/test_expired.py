"""Retention has taken the log's beginning: never a false alarm, and never a silent "balanced"."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any

import pytest

from services.ledger.__main__ import EXIT_STATUS
from services.ledger.audit import Audit
from services.ledger.checks import Mirrored
from services.ledger.expired import COUNTED, body_of, expired_of
from shared.contracts.enumerations import BLOCK_TYPES
from shared.contracts.identity import partition_of
from shared.feature_definitions import FEATURE_SET_VERSION
from tests.factories import START_US, accepted, transaction
from tests.unit.ledger.world import (
    PARTITIONS,
    World,
    add_anothers_purchase,
    add_letter,
    add_letter_of_the_vector,
    balanced_world,
    record,
    spoil_a_feature,
)

HOME = partition_of(b"c1", PARTITIONS)
BLOCK_COLUMNS = [f"{block}_{name}" for block, kind in BLOCK_TYPES.items() for name in kind.__struct_fields__]
ALL_NAMES = [f"P{number}" for number in range(1, 9)]

Rows = dict[str, Sequence[dict[str, Any]]]


def row(world: World, offset: int, **changes: Any) -> dict[str, Any]:
    body = world.purchases[offset]
    return {
        **dict.fromkeys(BLOCK_COLUMNS),
        "kafka_partition": HOME,
        "kafka_offset": offset,
        "event_id": body["event_id"],
        "source": body["source"],
        "customer_id": body["customer_id"],
        "occurred_at": datetime.fromisoformat(body["occurred_at"]),
        "amount": Decimal(str(body["amount"])),
        "currency": body["currency"],
        "misplaced": False,
        **changes,
    }


def expire(world: World, topics: Sequence[str], rows: Rows, letters: Sequence[dict[str, Any]] = ()) -> None:
    """Take the first record of the topics' log, and what it leaves in the warehouse."""
    of_topic = {
        "bnpl-transactions": world.transactions,
        "bnpl-features": world.vectors,
        "risk-decisions": world.decisions,
        "dead-letters": world.letters,
    }
    for topic in topics:
        del of_topic[topic][0]
    world.expired = expired_of({(topic, HOME): 1 for topic in topics}, rows, letters)


def verdicts(world: World) -> dict[str, bool | None]:
    return {name: finding.balanced for name, finding in world.findings().items()}


def only(name: str, verdict: bool | None) -> dict[str, bool | None]:
    return dict.fromkeys(ALL_NAMES, True) | {name: verdict}


def place(world: World, offset: int) -> dict[str, Any]:
    return {"kafka_partition": HOME, "kafka_offset": offset, "event_id": f"e{offset}"}


def test_a_purchase_that_expired_counts_in_the_features_of_later_ones_by_its_row() -> None:
    world = balanced_world()
    expire(world, ["bnpl-transactions"], {"bnpl-transactions": [row(world, 0)]})
    assert verdicts(world) == dict.fromkeys(ALL_NAMES, True)
    assert world.findings()["P4"].checked == 2


def test_a_wrong_feature_is_found_where_rows_stand_in_for_records() -> None:
    world = balanced_world()
    spoil_a_feature(world)
    expire(world, ["bnpl-transactions"], {"bnpl-transactions": [row(world, 0)]})
    assert verdicts(world) == only("P4", False)


@pytest.mark.parametrize("emptied", [False, True], ids=["no row", "emptied row"])
def test_features_that_differ_for_want_of_a_row_are_not_checkable(emptied: bool) -> None:
    world = balanced_world()
    left = [row(world, 0, customer_id=None, device_id=None)] if emptied else []
    expire(world, ["bnpl-transactions"], {"bnpl-transactions": left})
    found = world.findings()
    # The vector of the first purchase has no past, so nothing is missing of it.
    assert (found["P4"].balanced, found["P4"].checked, len(found["P4"].not_checkable)) == (None, 1, 1)
    # An emptied row still says that there was a purchase, and of which source.
    expected = only("P4", None) if emptied else only("P4", None) | {"P1": None, "P2": None}
    assert verdicts(world) == expected


def test_a_repeat_of_an_expired_purchase_is_no_second_one() -> None:
    world = balanced_world()
    repeat = record("bnpl-transactions", 2, "c1", world.purchases[0])
    world.transactions.append(repeat)
    for table in ("flit_bnpl_raw.raw_bnpl_txs_json", "flit_bnpl_raw.transactions"):
        world.rows[table][HOME, 2] = [Mirrored("e0")]
    expire(world, ["bnpl-transactions"], {"bnpl-transactions": [row(world, 0)]})
    assert verdicts(world) == dict.fromkeys(ALL_NAMES, True)


def test_vectors_that_expired_are_known_by_their_rows() -> None:
    world = balanced_world()
    expire(world, ["bnpl-features"], {"bnpl-features": [place(world, 0)]})
    assert verdicts(world) == dict.fromkeys(ALL_NAMES, True)
    expire(balanced := balanced_world(), ["bnpl-features"], {"bnpl-features": []})
    assert verdicts(balanced) == dict.fromkeys(ALL_NAMES, True) | {"P5": None, "P6": None}


def test_a_vector_that_never_was_is_found_though_others_expired() -> None:
    world = balanced_world()
    expire(world, ["bnpl-features"], {"bnpl-features": [place(world, 0)]})
    del world.vectors[0]
    world.rows["flit_ml_raw.features"].pop((HOME, 1))
    assert {name for name, verdict in verdicts(world).items() if verdict is False} == {"P5", "P6"}


def test_decisions_that_expired_are_known_by_their_rows() -> None:
    world = balanced_world()
    expire(world, ["risk-decisions"], {"risk-decisions": [place(world, 0)]})
    assert verdicts(world) == dict.fromkeys(ALL_NAMES, True)
    expire(lacking := balanced_world(), ["risk-decisions"], {"risk-decisions": []})
    assert verdicts(lacking) == dict.fromkeys(ALL_NAMES, True) | {"P2": None, "P6": None}


def test_whether_an_event_got_another_decision_after_its_first_expired_cannot_be_told() -> None:
    world = balanced_world()
    world.decisions.append(record("risk-decisions", 2, "c1", world.decisions[0].value))
    world.rows["flit_ml_raw.raw_bnpl_prediction_logs"][HOME, 2] = [Mirrored("e0")]
    expire(world, ["risk-decisions"], {"risk-decisions": [place(world, 0)]})
    assert verdicts(world) == only("P2", None)


def letter_row(world: World, **changes: Any) -> dict[str, Any]:
    letter = json.loads(world.letters[0].value)
    return {
        "kafka_partition": HOME, "kafka_offset": 0, "source_topic": letter["topic"],
        "source_partition": letter["partition"], "source_offset": letter["offset"],
        "reason": letter["reason"], "value_sha256": letter["value_sha256"], **changes,
    }  # fmt: skip


def test_a_refused_record_whose_letter_expired_is_judged_by_the_row_of_the_letter() -> None:
    world = balanced_world()
    add_letter(world, b"{broken")
    letter = letter_row(world)
    expire(world, ["dead-letters"], {}, [letter])
    assert verdicts(world) == dict.fromkeys(ALL_NAMES, True)
    world.expired = expired_of({("dead-letters", HOME): 1}, {}, [letter | {"value_sha256": "another"}])
    assert verdicts(world) == only("P5", False)


@pytest.mark.parametrize("gone", [["bnpl-features"], ["dead-letters"], ["bnpl-features", "dead-letters"]], ids=str)
def test_a_purchase_that_was_refused_a_decision_stays_answered(gone: list[str]) -> None:
    world = balanced_world()
    where = add_anothers_purchase(world, "e9")
    add_letter_of_the_vector(world, where)
    world.acknowledged["shop"] = 3
    letter = letter_row(world, kafka_partition=where[0])
    vector = {"kafka_partition": where[0], "kafka_offset": where[1], "event_id": "e9"}
    first = {"bnpl-features": where[1] + 1, "dead-letters": 1}
    beginnings = {(topic, where[0]): first[topic] for topic in gone}
    rows = {}
    if "bnpl-features" in gone:
        rows["bnpl-features"] = [vector]
        world.vectors.pop()
    world.expired = expired_of(beginnings, rows, [letter])
    if "dead-letters" in gone:
        world.letters.clear()
    assert not world.findings()["P2"].violations
    assert not world.findings()["P3"].violations


def test_a_record_that_cannot_be_read_is_no_fault_of_the_log_where_letters_are_gone() -> None:
    world = balanced_world()
    add_letter(world, b"{broken")
    expire(world, ["dead-letters"], {}, [])
    assert world.expired.lacks("dead-letters")
    assert not [name for name, verdict in verdicts(world).items() if verdict is False]


def test_expired_offsets_are_accounted_for_by_rows_and_letters_together() -> None:
    world = balanced_world()
    add_letter(world, b"{broken")
    letter = letter_row(world, source_offset=0)
    rows = {"bnpl-transactions": [row(world, 1), row(world, 1)]}
    assert expired_of({("bnpl-transactions", HOME): 2}, rows, [letter]).incomplete == set()
    assert expired_of({("bnpl-transactions", HOME): 2}, rows, []).incomplete == {("bnpl-transactions", HOME)}
    assert expired_of({("bnpl-transactions", HOME): 2}, rows, [letter]).records == {"bnpl-transactions": 2}
    assert set(COUNTED) >= set(rows)


def test_an_audit_that_cannot_tell_everything_is_not_called_balanced() -> None:
    world = balanced_world()
    assert Audit(list(world.findings().values())).balanced is True
    expire(world, ["bnpl-features"], {"bnpl-features": []})
    audit = Audit(list(world.findings().values()))
    assert audit.balanced is None
    assert EXIT_STATUS[audit.balanced] not in (0, 1)
    spoil_a_feature(wrong := balanced_world())
    assert Audit([*audit.findings, *wrong.findings().values()]).balanced is False


def test_a_checkout_s_features_are_judged_by_the_row_of_a_purchase_that_expired() -> None:
    body = transaction(1, payment=None)
    seen = accepted(1, payment=None)
    columns = {
        f"{block}_{name}": getattr(getattr(seen.transaction, block), name, None)
        for block, kind in BLOCK_TYPES.items()
        for name in kind.__struct_fields__
    }
    moment = datetime.fromisoformat(body["occurred_at"])
    found = body_of({**columns, "occurred_at": moment, "amount": Decimal("67.51"), "currency": "USD"})
    assert seen.occurred_us == START_US + 60_000_000
    assert "payment" not in found
    for name in ("occurred_at", "amount", "currency", "installments", "device"):
        assert found[name] == body[name]


def test_a_checkout_s_features_are_not_judged_by_another_customers_row_under_its_id() -> None:
    world = balanced_world()
    asked = {"channel": "rest", "customer_id": "c1", "feature_set_version": FEATURE_SET_VERSION}
    world.decisions[0] = record("risk-decisions", 0, "c1", json.loads(world.decisions[0].value) | asked)
    expire(world, ["bnpl-transactions"], {"bnpl-transactions": [row(world, 0)]})
    book = world.book()
    book.confirm_gone("e0", "c2", HOME, world.purchases[0] | {"amount": 3.0})
    assert set(book.asked) == {"e0"}
    book.confirm_gone("e0", "c1", HOME, world.purchases[0])
    assert (book.asked, book.not_checkable, book.mismatches) == ({}, [], [])
