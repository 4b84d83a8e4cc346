"""The AsyncAPI document: valid by the specification's own schema, and true to the topics."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from shared.contracts import schemas, topics
from shared.contracts.asyncapi import VALUE_OF
from shared.contracts.headers import EXPOSURE_HEADER, RECORDED_TIME_HEADER, cloud_event
from shared.settings import KafkaSettings

SPECIFICATION = Path(__file__).parents[2] / "data" / "asyncapi" / "asyncapi-3.0.0.schema.json"


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    content: dict[str, Any] = json.loads((schemas.FOLDER / "asyncapi.json").read_text())
    return content


def test_the_document_is_valid(document: dict[str, Any]) -> None:
    specification = jsonschema.Draft7Validator(json.loads(SPECIFICATION.read_text()))
    specification.validate(document)
    assert not specification.is_valid(document | {"channels": {"x": {"adress": "x"}}})


def test_its_references_lead_somewhere(document: dict[str, Any]) -> None:
    references = references_in(document)
    assert references
    for reference in references:
        place: Any = document
        for part in reference.removeprefix("#/").split("/"):
            place = place[part]


def test_its_channels_are_the_declared_topics_and_no_others(document: dict[str, Any]) -> None:
    assert set(document["channels"]) == set(topics.BY_NAME)
    assert set(document["components"]["messages"]) == set(schemas.EVENTS) == set(VALUE_OF.values())


@pytest.mark.parametrize("name", schemas.EVENTS)
def test_a_program_can_tell_where_key_and_event_stand(document: dict[str, Any], name: str) -> None:
    message = document["components"]["messages"][name]
    if name == VALUE_OF[topics.DEAD_LETTERS.name]:
        assert not {"x-key", "correlationId"} & set(message)
        return
    fields = document["components"]["schemas"][name]["properties"]
    for location in (message["x-key"]["location"], message["correlationId"]["location"]):
        assert location.removeprefix("$message.payload#/") in fields


@pytest.mark.parametrize("topic", topics.ALL, ids=lambda topic: topic.name)
def test_a_channel_says_what_is_declared_of_its_topic(document: dict[str, Any], topic: topics.Topic) -> None:
    channel = document["channels"][topic.name]
    kafka = channel["bindings"]["kafka"]
    assert channel["address"] == kafka["topic"] == topic.name
    assert kafka["topicConfiguration"]["retention.ms"] == topic.retention_ms
    assert kafka["partitions"] == topics.DEFAULT_PARTITIONS
    assert f"Kept {topic.retention_ms // topics.DAY_MS} days" in channel["description"]
    assert list(channel["messages"]) == [VALUE_OF[topic.name]]


def test_the_partition_count_is_the_one_that_is_set_up() -> None:
    assert KafkaSettings().partitions == topics.DEFAULT_PARTITIONS


def test_outsiders_write_transactions_and_outcomes_only(document: dict[str, Any]) -> None:
    received = {name for name, operation in document["operations"].items() if operation["action"] == "receive"}
    assert received == {"receive-transaction", "receive-outcome"}
    assert len(document["operations"]) == len(topics.ALL)
    groups = document["operations"]["receive-transaction"]["bindings"]["kafka"]["groupId"]["enum"]
    assert groups == ["flit-features", "flit-sink"]


def test_every_header_that_is_written_is_described(document: dict[str, Any]) -> None:
    written = {name for name, _ in cloud_event(event_id="e", kind="k", source="s", time="t", traceparent="p")}
    assert set(document["components"]["schemas"]["headers"]["properties"]) == written | {
        "rerouted",
        EXPOSURE_HEADER,
        RECORDED_TIME_HEADER,
    }


@pytest.mark.parametrize("name", schemas.EVENTS)
def test_the_examples_fit_the_schemas_inside_the_document(document: dict[str, Any], name: str) -> None:
    message = document["components"]["messages"][name]
    assert message["examples"]
    for part in ("headers", "payload"):
        checked = jsonschema.Draft7Validator(message[part] | {"components": document["components"]})
        for example in message["examples"]:
            checked.validate(example[part])
        assert not checked.is_valid([])


def references_in(value: Any) -> list[str]:
    if isinstance(value, dict):
        own = [value["$ref"]] if isinstance(value.get("$ref"), str) else []
        return own + [reference for item in value.values() for reference in references_in(item)]
    if isinstance(value, list):
        return [reference for item in value for reference in references_in(item)]
    return []
