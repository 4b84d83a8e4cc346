"""The schemas as the code makes them: up to date, valid, described, and no laxer than the decoder where they can be."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jsonschema
import pytest

from shared.contracts import schemas
from shared.contracts.examples import TRANSACTION, examples_of
from shared.contracts.field_notes import NOTES
from shared.contracts.identity import event_id
from shared.contracts.rejections import Rejection
from shared.feature_definitions import FEATURE_NAMES, feature_hash
from tests.factories import transaction
from tests.unit.contracts.published import decode, validator


def test_checked_in_schemas_are_those_of_the_code() -> None:
    assert schemas.differences() == []


@pytest.mark.parametrize("name", schemas.EVENTS)
def test_a_schema_is_itself_valid_and_so_are_its_examples(name: str) -> None:
    schema = schemas.schema_of(name)
    jsonschema.Draft202012Validator.check_schema(schema)
    assert schema["examples"]
    for example in schema["examples"]:
        validator(schema).validate(example)


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
