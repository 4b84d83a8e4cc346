"""Published schemas: up to date, valid, and readable for as long as somebody holds one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from shared.contracts import schemas
from shared.contracts.events import encode
from shared.contracts.identity import from_epoch_micros
from shared.contracts.records import decode_outcome
from shared.contracts.transactions import Door, Limits, decode_transaction
from tests.factories import START_US, accepted, outcome, transaction

RELEASED = schemas.FOLDER / "schemas" / "released" / "v1"
DATA = Path(__file__).parents[2] / "data"
MINIMAL = {
    "transaction_id": "t",
    "customer_id": "c",
    "occurred_at": from_epoch_micros(START_US),
    "amount": 1,
    "currency": "EUR",
}


def test_checked_in_schemas_are_those_of_the_code() -> None:
    assert schemas.differences() == []


@pytest.mark.parametrize("name", schemas.EVENTS)
def test_a_schema_is_itself_valid(name: str) -> None:
    jsonschema.Draft202012Validator.check_schema(schemas.schema_of(name))


@pytest.mark.parametrize("body", [transaction(0), MINIMAL], ids=["whole", "minimal"])
def test_what_fits_the_released_schema_is_still_accepted(body: dict[str, Any]) -> None:
    jsonschema.validate(body, _released("transaction"))
    decode_transaction(json.dumps(body).encode(), door=Door.TOPIC, received_us=START_US, limits=Limits())


def test_what_we_send_fits_the_released_schema() -> None:
    jsonschema.validate(json.loads(encode(accepted(0).transaction)), _released("transaction"))


def test_an_outcome_of_the_released_schema_is_still_accepted() -> None:
    body = outcome(0, observed_us=START_US)
    jsonschema.validate(body, _released("outcome"))
    decode_outcome(json.dumps(body).encode())


@pytest.mark.parametrize("name", schemas.EVENTS)
def test_nothing_that_was_released_is_gone_or_newly_required(name: str) -> None:
    for path, old in _objects(_released(name)):
        new = dict(_objects(schemas.schema_of(name)))[path]
        assert set(old.get("properties", {})) <= set(new.get("properties", {})), path
        assert set(new.get("required", [])) <= set(old.get("required", [])), path


def test_the_asyncapi_document_is_valid() -> None:
    document = json.loads((schemas.FOLDER / "asyncapi.json").read_text())
    specification = json.loads((DATA / "asyncapi" / "asyncapi-3.0.0.schema.json").read_text())
    jsonschema.Draft7Validator(specification).validate(document)


def test_the_asyncapi_document_s_references_lead_somewhere() -> None:
    document = json.loads((schemas.FOLDER / "asyncapi.json").read_text())
    for reference in _references(document):
        place: Any = document
        for part in reference.removeprefix("#/").split("/"):
            place = place[part]


def _released(name: str) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((RELEASED / f"{name}.schema.json").read_text())
    return content


def _objects(schema: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    return [("", schema), *schema.get("$defs", {}).items()]


def _references(value: Any) -> list[str]:
    if isinstance(value, dict):
        own = [value["$ref"]] if isinstance(value.get("$ref"), str) else []
        return own + [reference for item in value.values() for reference in _references(item)]
    if isinstance(value, list):
        return [reference for item in value for reference in _references(item)]
    return []
