"""The contract as a program reads it: topics, the key, and what a value looks like, all from the AsyncAPI document."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jsonschema

DOCUMENT = Path(os.environ.get("FLIT_CONTRACT") or Path(__file__).resolve().parents[2] / "docs/reference/asyncapi.json")
"""In a service of your own: a copy of the document, or where you fetch it to."""

SERVERS = os.environ.get("KAFKA__BOOTSTRAP_SERVERS", "127.0.0.1:19092")

PARTITIONER = "murmur2"
"""aiokafka's own, which is that of Kafka's Java client."""

_IN_THE_PAYLOAD = "$message.payload#/"


class ContractBroken(ValueError):
    """A value that is not what the document says."""


@dataclass(frozen=True)
class Message:
    """One kind of message, and the topic that carries it."""

    topic: str
    key_field: str
    event_field: str
    _validator: Any

    @classmethod
    def named(cls, name: str) -> Message:
        """`name`: as under components/messages, such as `transaction`. Raises ContractBroken for a key rule that this
        program doesn't know, KeyError for a name that the document doesn't have."""
        document = json.loads(DOCUMENT.read_text(encoding="utf-8"))
        message = document["components"]["messages"][name]
        topic = next(one["address"] for one in document["channels"].values() if name in one["messages"])
        rule = message["x-key"]
        if rule["partitioner"] != PARTITIONER:
            raise ContractBroken(f"{topic} is partitioned by {rule['partitioner']}, this program does {PARTITIONER}")
        schema = {**message["payload"], "components": document["components"]}
        return cls(
            topic,
            rule["location"].removeprefix(_IN_THE_PAYLOAD),
            message["correlationId"]["location"].removeprefix(_IN_THE_PAYLOAD),
            jsonschema.Draft7Validator(schema),
        )

    def check(self, value: Any) -> None:
        """Raises ContractBroken, with the first thing that is wrong."""
        wrong = next(self._validator.iter_errors(value), None)
        if wrong is not None:
            raise ContractBroken(f"{wrong.json_path}: {wrong.message}")

    def key(self, value: Mapping[str, Any]) -> bytes:
        return str(value[self.key_field]).encode()

    def event(self, value: Mapping[str, Any]) -> str:
        return str(value[self.event_field])
