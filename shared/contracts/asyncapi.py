"""The AsyncAPI 3.0 document: which topic carries what, under which key, for how long, and who writes and reads it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from shared.contracts import topics
from shared.contracts.examples import examples_of
from shared.contracts.headers import cloud_event
from shared.contracts.topics import Topic
from shared.contracts.versions import SCHEMA_VERSION

KAFKA_BINDING = "0.5.0"

VALUE_OF: dict[str, str] = {
    topics.TRANSACTIONS.name: "transaction",
    topics.OUTCOMES.name: "outcome",
    topics.FEATURES.name: "feature-vector",
    topics.DECISIONS.name: "decision",
    topics.DECISION_UPDATES.name: "decision-update",
    topics.DEAD_LETTERS.name: "dead-letter",
}

FROM_OUTSIDE = (topics.TRANSACTIONS, topics.OUTCOMES)
"""Topics that other systems write to. The system itself reads them; all others it writes, for whoever wants them."""

HEADERS: dict[str, Any] = {
    "title": "Record headers",
    "type": "object",
    "description": "CloudEvents 1.0 in binary mode. None is required: a record without any counts as schema version 1.",
    "properties": {
        "ce_id": {"type": "string", "description": "The event_id; of a dead letter, where the record lay"},
        "ce_type": {"type": "string", "description": "com.flit.risk. and the event's name"},
        "ce_source": {"type": "string", "description": "Who wrote the record"},
        "ce_specversion": {"type": "string", "const": "1.0"},
        "ce_time": {"type": "string", "format": "date-time"},
        "content-type": {"type": "string", "const": "application/json"},
        "schema_version": {"type": "string", "description": f"Up to {SCHEMA_VERSION}; a newer one is refused"},
        "traceparent": {"type": "string", "description": "W3C trace context"},
        "ce_exposure": {
            "type": "string",
            "description": "On a decision: cents, day, days between instalments, instalments",
        },
        "ce_recordedtime": {
            "type": "string",
            "format": "date-time",
            "description": "On a vector: the timestamp of its purchase's record",
        },
        "rerouted": {"type": "string", "description": "On a record that was sent again to the partition of its key"},
    },
}

BY_CUSTOMER: dict[str, Any] = {
    "correlationId": {
        "description": "The same for all that is about one purchase",
        "location": "$message.payload#/event_id",
    },
    "x-key": {"location": "$message.payload#/customer_id", "encoding": "UTF-8", "partitioner": "murmur2"},
}
"""Of every message but dead letters. `x-key` is for programs, as `bindings` have no word for it: where in a value its
record's key stands, and how the partition follows from that."""

_Schema = dict[str, Any]


def document(schemas: Mapping[str, _Schema]) -> dict[str, Any]:
    """The whole document. `schemas`: by event name, as `shared.contracts.schemas` makes them."""
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Flit Risk",
            "version": f"{SCHEMA_VERSION}.0.0",
            "description": "Decides whether a buy-now-pay-later purchase is approved, reviewed or declined. "
            "Values are JSON, UTF-8. Sources send to the topics that are received; all others may be read by anyone.",
        },
        "defaultContentType": "application/json",
        "servers": {
            "embedded": {
                "host": "127.0.0.1:19092",
                "protocol": "kafka",
                "description": "The broker of `make up`; elsewhere whatever KAFKA__BOOTSTRAP_SERVERS names",
            }
        },
        "channels": {topic.name: _channel(topic) for topic in topics.ALL},
        "operations": {name: operation for topic in topics.ALL for name, operation in _operations(topic).items()},
        "components": {
            "messages": {VALUE_OF[topic.name]: _message(topic) for topic in topics.ALL},
            "schemas": {"headers": HEADERS, **_components(schemas)},
        },
    }


def _channel(topic: Topic) -> dict[str, Any]:
    name = VALUE_OF[topic.name]
    kept = "for ever" if topic.retention_ms < 0 else f"{topic.retention_ms // topics.DAY_MS} days"
    partition = (
        "Keeps the key of the record that was refused."
        if topic is topics.DEAD_LETTERS
        else "Key: customer_id, UTF-8. Partition: positive murmur2 of the key modulo the count, as Kafka's Java client "
        "places it; a record that lies elsewhere is sent again to its right place."
    )
    return {
        "address": topic.name,
        "title": topic.about,
        "description": f"{partition} All topics have the same partition count "
        f"({topics.DEFAULT_PARTITIONS} unless KAFKA__PARTITIONS says otherwise). Kept {kept}.",
        "messages": {name: {"$ref": f"#/components/messages/{name}"}},
        "bindings": {
            "kafka": {
                "topic": topic.name,
                "partitions": topics.DEFAULT_PARTITIONS,
                "topicConfiguration": {"cleanup.policy": ["delete"], "retention.ms": topic.retention_ms},
                "bindingVersion": KAFKA_BINDING,
            }
        },
    }


def _operations(topic: Topic) -> dict[str, Any]:
    """From the system's own point of view."""
    action = "receive" if topic in FROM_OUTSIDE else "send"
    name = VALUE_OF[topic.name]
    operation = {
        "action": action,
        "channel": {"$ref": f"#/channels/{topic.name}"},
        "summary": f"Written by {', '.join(topic.written_by)}; read by {', '.join(topic.read_by)}",
        "messages": [{"$ref": f"#/channels/{topic.name}/messages/{name}"}],
    }
    if action == "receive":
        groups = [f"flit-{reader}" for reader in topic.read_by]
        group_id = {"type": "string", "enum": groups, "description": "One consumer group for each service"}
        operation["bindings"] = {"kafka": {"groupId": group_id, "bindingVersion": KAFKA_BINDING}}
    return {f"{action}-{name}": operation}


def _message(topic: Topic) -> dict[str, Any]:
    name = VALUE_OF[topic.name]
    if topic is topics.DEAD_LETTERS:
        key = {"type": "string", "description": "The bytes of the original key; none where there was none"}
        correlation = {}
    else:
        key = {"type": "string", "description": "customer_id, UTF-8"}
        correlation = BY_CUSTOMER
    return {
        "name": name,
        "title": topic.about,
        "contentType": "application/json",
        **correlation,
        "headers": {"$ref": "#/components/schemas/headers"},
        "payload": {"$ref": f"#/components/schemas/{name}"},
        "bindings": {"kafka": {"key": key, "bindingVersion": KAFKA_BINDING}},
        "examples": [{"headers": _header_example(name, body), "payload": body} for body in examples_of(name)],
    }


def _header_example(name: str, body: Mapping[str, Any]) -> dict[str, str]:
    """The headers that belong to an example; none where the producer sends none."""
    event_id = f"{body['topic']}/{body['partition']}/{body['offset']}" if "topic" in body else body.get("event_id")
    if event_id is None:
        return {}
    time = next(value for field, value in sorted(body.items()) if field.endswith("_at"))
    headers = cloud_event(event_id=event_id, kind=name, source="flit-risk", time=time)
    return {key: value.decode() for key, value in headers}


def _components(schemas: Mapping[str, _Schema]) -> dict[str, _Schema]:
    """Every event's schema by its name, and the parts that they are made of by theirs, each once."""
    found: dict[str, _Schema] = {}
    for name, schema in schemas.items():
        inner = {key: value for key, value in schema.items() if key not in ("$schema", "$defs", "examples")}
        for part, definition in {name: inner, **schema.get("$defs", {})}.items():
            moved: _Schema = _with_references_moved(definition)
            if found.setdefault(part, moved) != moved:
                raise ValueError(f"two parts are called {part}")
    return dict(sorted(found.items()))


def _with_references_moved(value: Any) -> Any:
    """References start at the document's root."""
    if isinstance(value, dict):
        return {
            key: item.replace("#/$defs/", "#/components/schemas/") if key == "$ref" else _with_references_moved(item)
            for key, item in value.items()
        }
    if isinstance(value, list):
        return [_with_references_moved(item) for item in value]
    return value
