"""Old schema versions are read as the current one; unknown ones are refused."""

from __future__ import annotations

import json
from typing import Any

import pytest

from shared.contracts import versions
from shared.contracts.examples import examples_of
from shared.contracts.headers import cloud_event, header
from shared.contracts.records import decode_feature_vector, decode_outcome
from shared.contracts.rejections import InputWarning, Rejection
from shared.contracts.transactions import AcceptedTransaction, Door, Limits, decode_transaction
from shared.contracts.versions import Versions
from tests.factories import START_US, outcome, transaction


def cents_to_amount(body: dict[str, Any]) -> dict[str, Any]:
    """As if version 1 had named the amount in cents."""
    rest = {name: value for name, value in body.items() if name != "cents"}
    return rest | {"amount": body["cents"] / 100}


def client_to_customer(body: dict[str, Any]) -> dict[str, Any]:
    """As if version 3 had renamed the customer."""
    rest = {name: value for name, value in body.items() if name != "client_id"}
    return rest | {"customer_id": body["client_id"]}


FOUR = Versions({1: cents_to_amount, 3: client_to_customer}, current=4)


def without(body: dict[str, Any], name: str, **more: Any) -> dict[str, Any]:
    return {key: value for key, value in body.items() if key != name} | more


CURRENT = transaction(0)
THIRD = without(CURRENT, "customer_id", client_id="cust_000001")
FIRST = without(THIRD, "amount", cents=6751)


def decode(body: dict[str, Any], version: str | None, known: Versions = FOUR) -> AcceptedTransaction:
    raw = json.dumps(body).encode()
    return decode_transaction(
        raw, door=Door.TOPIC, received_us=START_US, limits=Limits(), schema_version=version, known_versions=known
    )


@pytest.mark.parametrize(
    ("body", "version"), [(FIRST, "1"), (FIRST, None), (THIRD, "2"), (THIRD, "3")], ids=["1", "unnamed", "2", "3"]
)
def test_an_older_version_is_read_as_the_current_one_with_a_warning(body: dict[str, Any], version: str | None) -> None:
    old, new = decode(body, version), decode(CURRENT, "4")
    assert old.transaction == new.transaction
    assert old.fingerprint == new.fingerprint
    assert old.document == new.document
    assert (old.warnings, new.warnings) == ((InputWarning.OLD_VERSION,), ())


def test_the_body_may_name_the_version_where_no_header_does() -> None:
    assert decode(THIRD | {"schema_version": 3}, None).warnings == (InputWarning.OLD_VERSION,)
    assert decode(CURRENT | {"schema_version": "4"}, None).warnings == ()
    assert decode(CURRENT | {"schema_version": 1}, "4").warnings == ()


@pytest.mark.parametrize("version", ["0", "5", "99", "-1", "01", "1.0", "", " 1", "one", "9" * 5000])
def test_a_header_that_names_no_known_version_is_refused(version: str) -> None:
    with pytest.raises(Rejection) as caught:
        decode(CURRENT, version)
    assert (caught.value.reason.value, caught.value.field, caught.value.status) == ("version", "schema_version", 422)


@pytest.mark.parametrize("version", [0, 5, True, 1.0, "x", [1], {"n": 1}])
def test_a_body_that_names_no_known_version_is_refused(version: Any) -> None:
    with pytest.raises(Rejection) as caught:
        decode(CURRENT | {"schema_version": version}, None)
    assert caught.value.reason.value == "version"


def test_what_an_upcaster_gives_still_has_to_keep_the_rules() -> None:
    with pytest.raises(Rejection) as caught:
        decode(without(FIRST, "cents", cents=-1), "1")
    assert (caught.value.reason.value, caught.value.field) == ("range", "amount")


def test_an_outcome_and_a_vector_are_brought_up_too() -> None:
    renamed = without(outcome(1, observed_us=START_US), "defaulted", bad=True)
    known = Versions({1: lambda body: without(body, "bad", defaulted=body["bad"])}, current=2)
    assert decode_outcome(json.dumps(renamed).encode(), known_versions=known).outcome.defaulted is True
    with pytest.raises(Rejection, match="defaulted"):
        decode_outcome(json.dumps(renamed).encode(), schema_version="2", known_versions=known)
    vector = examples_of("feature-vector")[0]
    known = Versions({1: lambda body: without(body, "id", event_id=body["id"])}, current=2)
    raw = json.dumps(without(vector, "event_id", id=vector["event_id"])).encode()
    assert decode_feature_vector(raw, known_versions=known) == decode_feature_vector(json.dumps(vector).encode())
    with pytest.raises(Rejection, match="version"):
        decode_feature_vector(b"{}", schema_version="9")


def test_a_current_body_is_not_copied() -> None:
    body = {"a": 1}
    assert FOUR.upcast(body, 4) is body


def test_what_we_write_we_read() -> None:
    named = header(cloud_event(event_id="e", kind="outcome", source="s", time="t"), "schema_version")
    for known in (versions.TRANSACTION, versions.OUTCOME, versions.FEATURE_VECTOR):
        assert known.check(named) == known.current == versions.SCHEMA_VERSION
        assert all(versions.FIRST_VERSION <= step < known.current for step in known.upcasters)
