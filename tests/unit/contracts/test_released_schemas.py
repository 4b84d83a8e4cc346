"""A schema that was released stays readable, for as long as somebody holds it."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from shared.contracts import schemas
from shared.contracts.events import encode
from shared.contracts.versions import FIRST_VERSION, SCHEMA_VERSION
from tests.factories import START_US, accepted, outcome, transaction
from tests.unit.contracts.compatibility import breaks
from tests.unit.contracts.published import decode, released, validator
from tests.unit.contracts.schema_instances import instances

VERSIONS = range(FIRST_VERSION, SCHEMA_VERSION + 1)
EVENTS_AND_VERSIONS = [(name, version) for version in VERSIONS for name in schemas.EVENTS]


@pytest.mark.parametrize(("name", "version"), EVENTS_AND_VERSIONS)
def test_every_example_that_was_ever_released_still_decodes(name: str, version: int) -> None:
    examples = released(name, version)["examples"]
    assert examples
    for example in examples:
        validator(released(name, version)).validate(example)
        decode(name, example, version)


@pytest.mark.parametrize(("name", "version"), EVENTS_AND_VERSIONS)
@given(data=st.data())
@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow])
def test_whatever_keeps_to_a_released_schema_still_decodes(name: str, version: int, data: st.DataObject) -> None:
    schema = released(name, version)
    body = data.draw(instances(schema))
    validator(schema).validate(body)
    decode(name, body, version)


def test_a_whole_transaction_keeps_to_the_released_schema() -> None:
    validator(released("transaction")).validate(transaction(0))


def test_what_we_send_fits_the_released_schemas() -> None:
    validator(released("transaction")).validate(json.loads(encode(accepted(0).transaction)))
    validator(released("outcome")).validate(outcome(0, observed_us=START_US))


@pytest.mark.parametrize("name", schemas.EVENTS)
def test_what_was_released_of_this_version_is_kept(name: str) -> None:
    assert breaks(released(name), schemas.schema_of(name)) == []


Change = Callable[[dict[str, Any]], Any]

BROKEN: dict[str, tuple[str, Change, str]] = {
    "field gone": ("transaction", lambda new: new["properties"].pop("status"), ".status is gone"),
    "field of a block gone": (
        "transaction", lambda new: new["$defs"]["Device"]["properties"].pop("os"), "Device.os is gone"),
    "block gone": ("transaction", lambda new: new["$defs"].pop("Device"), "Device is gone"),
    "newly required": ("transaction", lambda new: new["required"].append("status"), ".status is required"),
    "no longer promised": ("decision", lambda new: new["required"].remove("decision"), ".decision may be absent"),
    "type": (
        "transaction", lambda new: new["properties"]["amount"].update(type="string"), ".amount has another type"),
    "no longer null": (
        "outcome", lambda new: new["properties"]["days_to_first_missed_payment"]["anyOf"].pop(),
        ".days_to_first_missed_payment has another type"),
    "currency gone": (
        "transaction", lambda new: new["properties"]["currency"]["enum"].remove("EUR"), ".currency has lost EUR"),
    "verdict gone": (
        "decision", lambda new: new["$defs"]["Verdict"]["enum"].remove("review"), "Verdict has lost review"),
    "list where all was taken": (
        "transaction", lambda new: new["properties"]["source"].update(enum=["rest"]),
        ".source takes listed values only"),
    "shorter ids": (
        "transaction", lambda new: new["properties"]["transaction_id"].update(maxLength=64),
        ".transaction_id has a lower maxLength"),
    "fewer instalments, beside null": (
        "transaction", lambda new: new["$defs"]["Installments"]["properties"]["count"]["anyOf"][0].update(maximum=12),
        "Installments.count has a lower maximum"),
    "amounts from one": (
        "transaction", lambda new: new["properties"]["amount"].update(minimum=1), ".amount has a higher minimum"),
    "a pattern": (
        "transaction", lambda new: new["properties"]["source"].update(pattern="^x"), ".source has another pattern"),
    "no extra fields": (
        "transaction", lambda new: new.update(additionalProperties=False), " takes other fields than before"),
    "features of another type": (
        "decision", lambda new: new["properties"]["features"].update(additionalProperties={"type": "string"}),
        ".features.* has another type"),
}  # fmt: skip


@pytest.mark.parametrize(("name", "change", "found"), BROKEN.values(), ids=BROKEN.keys())
def test_a_broken_promise_is_found(name: str, change: Change, found: str) -> None:
    old = schemas.schema_of(name)
    new = copy.deepcopy(old)
    change(new)
    assert breaks(old, new) == [found]


ADDED: dict[str, Change] = {
    "a field": lambda new: new["properties"].update(more={"type": "string"}),
    "a currency": lambda new: new["properties"]["currency"]["enum"].append("HUF"),
    "longer ids": lambda new: new["properties"]["transaction_id"].update(maxLength=256),
    "another text": lambda new: new["properties"]["amount"].update(description="Other words"),
}


@pytest.mark.parametrize("change", ADDED.values(), ids=ADDED.keys())
def test_what_is_only_added_breaks_nothing(change: Change) -> None:
    old = schemas.schema_of("transaction")
    new = copy.deepcopy(old)
    change(new)
    assert breaks(old, new) == []
