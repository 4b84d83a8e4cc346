"""Pseudonyms: one for each id and kind, no way back, and nothing of the id left where they are used."""

from __future__ import annotations

import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.contracts.events import Outcome, encode
from shared.contracts.pseudonyms import OFF, PREFIX, Kind, Pseudonyms
from shared.contracts.transactions import AcceptedTransaction, Door, Limits, decode_transaction
from tests.factories import DAY_US, START_US, accepted, transaction

KEY = b"0123456789abcdef0123456789abcdef"
ON = Pseudonyms(KEY)
RAW = "cust_000001-f6e48da5"

ids = st.text(st.characters(min_codepoint=33, max_codepoint=0x2FF, exclude_categories=["Cc", "Cf"]), min_size=1)


@given(ids, st.sampled_from(Kind))
def test_the_same_id_of_the_same_kind_always_has_the_same_pseudonym(value: str, kind: Kind) -> None:
    made = Pseudonyms(KEY).of(kind, value)
    assert made == Pseudonyms(KEY).of(kind, value)
    assert made.startswith(PREFIX)
    assert len(made) == len(PREFIX) + 32
    int(made.removeprefix(PREFIX), 16)


@given(ids, ids, st.sampled_from(Kind), st.sampled_from(Kind))
def test_other_ids_kinds_and_keys_have_others(one: str, other: str, kind: Kind, another: Kind) -> None:
    if (one, kind) != (other, another):
        assert ON.of(kind, one) != ON.of(another, other)
    assert ON.of(kind, one) != Pseudonyms(KEY[::-1]).of(kind, one)


@given(ids)
def test_a_pseudonym_is_given_one_only_where_that_is_asked_for(value: str) -> None:
    made = ON.of(Kind.CUSTOMER, value)
    assert ON.once(Kind.CUSTOMER, made) == made
    assert ON.once(Kind.CUSTOMER, value) == made
    assert ON.of(Kind.CUSTOMER, made) != made


def test_without_a_key_everything_is_given_back_as_it_came() -> None:
    body = accepted()
    known = Outcome(
        event_id="e",
        customer_id=RAW,
        defaulted=False,
        days_to_first_missed_payment=None,
        observed_at="2026-06-01T00:00:00.000000Z",
    )
    assert OFF.transaction(body) is body
    assert OFF.outcome(known) is known
    assert (OFF.of(Kind.CUSTOMER, RAW), OFF.once(Kind.CUSTOMER, RAW), OFF.mark, OFF.on) == (RAW, RAW, "", False)


def of(door: Door) -> AcceptedTransaction:
    """A purchase with the customer's id, or what is made of it, in every place that can hold it."""
    body = transaction(
        customer_id=RAW,
        transaction_id="cust_000001_txn_7",
        device={"loyalty": "cust_000001/gold"},
        crm={"ref": RAW, "cust_000001": ["cust_000001", 7]},
    )
    raw = json.dumps(body).encode()
    return decode_transaction(raw, door=door, received_us=START_US + 1200 * DAY_US, limits=Limits())


def test_nothing_of_the_id_is_left_in_the_purchase_or_its_document() -> None:
    renamed = ON.transaction(of(Door.TOPIC))
    for told in (encode(renamed.transaction), msgspec.json.encode(renamed.document)):
        assert b"cust_000001" not in told
    assert renamed.document["customer_id"] == renamed.transaction.customer_id
    assert renamed.document["device"]["id"] == renamed.transaction.device.id  # type: ignore[union-attr]


def test_all_else_of_the_purchase_is_as_it_came() -> None:
    before, after = of(Door.TOPIC), ON.transaction(of(Door.TOPIC))
    assert after.transaction.event_id == before.transaction.event_id
    changed = {
        name
        for name in before.transaction.__struct_fields__
        if getattr(before.transaction, name) != getattr(after.transaction, name)
    }
    assert changed == {"customer_id", "transaction_id", "device", "payment"}
    assert after.document["product"] == before.document["product"]
    assert (after.occurred_us, after.amount_minor, after.warnings) == (
        before.occurred_us, before.amount_minor, before.warnings,
    )  # fmt: skip


def test_both_doors_come_to_the_same_body() -> None:
    topic, rest = ON.transaction(of(Door.TOPIC)), ON.transaction(of(Door.REST))
    assert topic.fingerprint == rest.fingerprint
    assert topic.fingerprint != of(Door.TOPIC).fingerprint


def test_a_transaction_id_that_gives_nobody_away_stays() -> None:
    assert ON.transaction(accepted()).transaction.transaction_id == "txn_00000000"


@pytest.mark.parametrize("device", [None, {"id": None}])
def test_ids_that_are_not_there_are_not_made_up(device: dict[str, object] | None) -> None:
    renamed = ON.transaction(accepted(device=device, payment=None)).transaction
    assert renamed.device is None or renamed.device.id is None
    assert renamed.payment is None


def test_a_device_and_a_customer_of_the_same_name_are_not_taken_for_each_other() -> None:
    renamed = ON.transaction(accepted(customer_id="same", device={"id": "same"})).transaction
    assert renamed.device is not None
    assert renamed.device.id != renamed.customer_id
