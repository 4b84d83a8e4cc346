"""The AsyncAPI 3.0 document: who publishes what where, and how a record looks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from shared.contracts import topics

VALUE_OF: dict[str, str] = {
    topics.TRANSACTIONS.name: "transaction",
    topics.OUTCOMES.name: "outcome",
    topics.FEATURES.name: "feature-vector",
    topics.DECISIONS.name: "decision",
    topics.DECISION_UPDATES.name: "decision-update",
    topics.DEAD_LETTERS.name: "dead-letter",
}

HEADERS: dict[str, Any] = {
    "type": "object",
    "description": "CloudEvents 1.0 in binary mode. A record without headers is taken as schema version 1.",
    "properties": {
        "ce_id": {"type": "string", "description": "The event_id"},
        "ce_type": {"type": "string"},
        "ce_source": {"type": "string"},
        "ce_specversion": {"type": "string", "const": "1.0"},
        "ce_time": {"type": "string", "format": "date-time"},
        "content-type": {"type": "string", "const": "application/json"},
        "schema_version": {"type": "string"},
        "traceparent": {"type": "string", "description": "W3C trace context"},
        "rerouted": {"type": "string", "description": "Where the record lay before it was sent to its right partition"},
    },
}


def document(schemas: Mapping[str, dict[str, Any]]) -> dict[str, Any]:
    """The whole document. `schemas`: by event name, as `shared.contracts.schemas` makes them."""
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Flit Risk",
            "version": "1.0.0",
            "description": "Decides whether a buy-now-pay-later purchase is approved, reviewed or declined.",
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
        "operations": _operations(),
        "components": {
            "messages": {name: _message(name) for name in VALUE_OF.values()},
            "schemas": {name: _embedded(name, schema) for name, schema in schemas.items()},
        },
    }


def _channel(topic: topics.Topic) -> dict[str, Any]:
    name = VALUE_OF[topic.name]
    key = "the original record's key" if topic is topics.DEAD_LETTERS else "customer_id"
    return {
        "address": topic.name,
        "description": f"{topic.about}. Key: {key}; partition: murmur2 of the key, modulo the partition count.",
        "messages": {name: {"$ref": f"#/components/messages/{name}"}},
        "bindings": {
            "kafka": {
                "topic": topic.name,
                "topicConfiguration": {"cleanup.policy": ["delete"], "retention.ms": topic.retention_ms},
            }
        },
    }


def _operations() -> dict[str, Any]:
    """From the system's point of view: it receives purchases and outcomes, and sends everything else."""
    received = {topics.TRANSACTIONS.name, topics.OUTCOMES.name}
    return {
        f"{'receive' if topic.name in received else 'send'}-{VALUE_OF[topic.name]}": {
            "action": "receive" if topic.name in received else "send",
            "channel": {"$ref": f"#/channels/{topic.name}"},
            "summary": f"Written by {', '.join(topic.written_by)}; read by {', '.join(topic.read_by)}",
            "messages": [{"$ref": f"#/channels/{topic.name}/messages/{VALUE_OF[topic.name]}"}],
        }
        for topic in topics.ALL
    }


def _message(name: str) -> dict[str, Any]:
    return {
        "name": name,
        "contentType": "application/json",
        "headers": HEADERS,
        "payload": {"$ref": f"#/components/schemas/{name}"},
        "bindings": {"kafka": {"key": {"type": "string", "description": "UTF-8"}}},
    }


def _embedded(name: str, schema: Mapping[str, Any]) -> dict[str, Any]:
    """The schema inside the document: its own references have to start from the document's root."""
    prefix = f"#/components/schemas/{name}/$defs/"

    def moved(value: Any) -> Any:
        if isinstance(value, dict):
            return {
                key: item.replace("#/$defs/", prefix) if key == "$ref" else moved(item) for key, item in value.items()
            }
        if isinstance(value, list):
            return [moved(item) for item in value]
        return value

    inner: dict[str, Any] = moved({key: item for key, item in schema.items() if key != "$schema"})
    return inner
