"""Published schemas: up to date, valid, and readable for as long as somebody holds one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import msgspec
import pytest

from shared.contracts import schemas
from shared.contracts.events import DeadLetter, encode
from shared.contracts.examples import TRANSACTION, examples_of
from shared.contracts.field_notes import NOTES
from shared.contracts.identity import event_id
from shared.contracts.records import decode_decision, decode_decision_update, decode_feature_vector, decode_outcome
from shared.contracts.rejections import Rejection
from shared.contracts.transactions import Door, Limits, decode_transaction
from shared.contracts.versions import FIRST_VERSION, SCHEMA_VERSION
from shared.feature_definitions import FEATURE_NAMES, feature_hash
from tests.factories import DAY_US, START_US, accepted, outcome, transaction

VERSIONS = range(FIRST_VERSION, SCHEMA_VERSION + 1)
EVENTS_AND_VERSIONS = [(name, version) for version in VERSIONS for name in schemas.EVENTS]


def released(name: str, version: int = SCHEMA_VERSION) -> dict[str, Any]:
    file = schemas.released_folder(version=version) / f"{name}.schema.json"
    content: dict[str, Any] = json.loads(file.read_text())
    return content


def validator(schema: dict[str, Any]) -> Any:
    return jsonschema.Draft202012Validator(schema, format_checker=jsonschema.FormatChecker())


def decode(name: str, body: dict[str, Any], version: int = SCHEMA_VERSION) -> Any:
    raw, named = json.dumps(body).encode(), str(version)
    if name == "transaction":
        late = START_US + 3650 * DAY_US
        limits = Limits()
        return decode_transaction(raw, door=Door.TOPIC, received_us=late, limits=limits, schema_version=named)
    if name == "outcome":
        return decode_outcome(raw, schema_version=named)
    if name == "feature-vector":
        return decode_feature_vector(raw, schema_version=named)
    if name == "dead-letter":
        return msgspec.json.decode(raw, type=DeadLetter)
    return {"decision": decode_decision, "decision-update": decode_decision_update}[name](raw)


def test_checked_in_schemas_are_those_of_the_code() -> None:
    assert schemas.differences() == []


@pytest.mark.parametrize("name", schemas.EVENTS)
def test_a_schema_is_itself_valid_and_so_are_its_examples(name: str) -> None:
    schema = schemas.schema_of(name)
    jsonschema.Draft202012Validator.check_schema(schema)
    assert schema["examples"]
    for example in schema["examples"]:
        validator(schema).validate(example)


@pytest.mark.parametrize(("name", "version"), EVENTS_AND_VERSIONS)
def test_every_example_that_was_ever_released_still_decodes(name: str, version: int) -> None:
    examples = released(name, version)["examples"]
    assert examples
    for example in examples:
        decode(name, example, version)


@pytest.mark.parametrize("name", schemas.EVENTS)
def test_what_was_released_of_this_version_is_kept(name: str) -> None:
    assert breaks(released(name), schemas.schema_of(name)) == []


@pytest.mark.parametrize("body", [transaction(0), *examples_of("transaction")], ids=["whole", "example", "least"])
def test_a_producer_that_keeps_to_the_released_schema_is_accepted(body: dict[str, Any]) -> None:
    validator(released("transaction")).validate(body)
    decode("transaction", body)


@pytest.mark.parametrize(
    "changes",
    [
        {"amount": -1}, {"amount": "12"}, {"currency": "XXX"}, {"status": "dreamt"}, {"customer_id": None},
        {"transaction_id": "x" * 129}, {"installments": {"count": 61}}, {"installments": {"count": 1.5}},
        {"customer": {"tenure_days": -1}}, {"device": [1]}, {"product": {"bnpl_eligible": 1}},
    ],
)  # fmt: skip
def test_what_the_schema_refuses_the_decoder_refuses_too(changes: dict[str, Any]) -> None:
    body = transaction(0, **changes)
    assert not validator(schemas.schema_of("transaction")).is_valid(body)
    with pytest.raises(Rejection):
        decode("transaction", body)


def test_what_we_send_fits_the_released_schemas() -> None:
    validator(released("transaction")).validate(json.loads(encode(accepted(0).transaction)))
    validator(released("outcome")).validate(outcome(0, observed_us=START_US))


def test_a_producer_has_to_send_five_fields() -> None:
    required = ["transaction_id", "customer_id", "occurred_at", "amount", "currency"]
    assert schemas.schema_of("transaction")["required"] == required
    stored = schemas.schema_of("feature-vector")["$defs"]["Transaction"]["required"]
    assert {"event_id", "source"} <= set(stored)


def test_every_field_is_described_and_no_other() -> None:
    for kind, notes in NOTES.items():
        assert set(notes) == set(kind.__struct_fields__), kind.__name__  # type: ignore[attr-defined]
    for name in schemas.EVENTS:
        for path, part in parts_of(schemas.schema_of(name)):
            for field, content in part.get("properties", {}).items():
                assert content.get("description"), f"{name} {path} {field}"


def test_the_examples_are_true_to_the_code() -> None:
    one = TRANSACTION
    assert one.event_id == event_id(one.source, one.transaction_id, one.customer_id, one.occurred_at)
    for name in ("feature-vector", "decision"):
        for example in examples_of(name):
            assert example["feature_hash"] == feature_hash(example["features"])
            assert set(example["features"]) <= set(FEATURE_NAMES)


def test_check_names_what_differs(tmp_path: Path) -> None:
    schemas.write(tmp_path)
    assert schemas.differences(tmp_path) == []
    (tmp_path / "asyncapi.json").write_text("{}")
    (tmp_path / "schemas" / "outcome.schema.json").unlink()
    (tmp_path / "schemas" / "old.schema.json").write_text("{}")
    assert schemas.differences(tmp_path) == [
        "schemas/outcome.schema.json is missing",
        "asyncapi.json differs",
        "schemas/old.schema.json belongs to no event",
    ]


def test_check_fails_with_what_differs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schemas, "differences", lambda: ["asyncapi.json differs"])
    with pytest.raises(SystemExit, match=r"asyncapi\.json differs: run"):
        schemas.main(["check"])


def test_writing_never_touches_what_was_released(tmp_path: Path) -> None:
    schemas.write(tmp_path)
    file = schemas.released_folder(tmp_path) / "outcome.schema.json"
    file.write_text("as it was")
    schemas.write(tmp_path)
    assert file.read_text() == "as it was"


def parts_of(schema: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    return [("", schema), *schema.get("$defs", {}).items()]


def shape_of(content: dict[str, Any]) -> Any:
    """Type, reference and choices of a value, without its texts."""
    kept = ("type", "$ref", "items", "additionalProperties", "anyOf")
    return {
        key: [shape_of(choice) for choice in content[key]] if key == "anyOf" else content[key]
        for key in kept
        if key in content
    }


def breaks(old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    """What those who keep to `old` could stumble over in `new`: gone, newly required, of another type, value gone."""
    found = []
    new_parts = dict(parts_of(new))
    for path, before in parts_of(old):
        after = new_parts.get(path)
        if after is None:
            found.append(f"{path} is gone")
            continue
        newly = set(after.get("required", ())) - set(before.get("required", ()))
        found.extend(f"{path}.{field} is required" for field in sorted(newly))
        for field, content in before.get("properties", {}).items():
            now = after.get("properties", {}).get(field)
            if now is None:
                found.append(f"{path}.{field} is gone")
            elif shape_of(now) != shape_of(content):
                found.append(f"{path}.{field} has another type")
            elif not set(content.get("enum", ())) <= set(now.get("enum", content.get("enum", ()))):
                found.append(f"{path}.{field} has lost a value")
    return found


def test_a_broken_promise_is_found() -> None:
    def after(change: Any) -> list[str]:
        new = json.loads(json.dumps(old))
        change(new)
        return breaks(old, new)

    old = schemas.schema_of("transaction")
    assert after(lambda new: new["properties"].pop("status")) == [".status is gone"]
    assert after(lambda new: new["required"].append("status")) == [".status is required"]
    assert after(lambda new: new["properties"]["amount"].update(type="string")) == [".amount has another type"]
    assert after(lambda new: new["properties"]["currency"]["enum"].remove("EUR")) == [".currency has lost a value"]
    assert after(lambda new: new["$defs"]["Device"]["properties"].pop("os")) == ["Device.os is gone"]
    assert after(lambda new: new["$defs"].pop("Device")) == ["Device is gone"]
    assert after(lambda new: new["properties"].update(more={"type": "string"})) == []
