"""A refused record's letter, down to headers and sizes."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass, field

from shared.contracts.headers import Headers, header
from shared.contracts.rejections import Rejection, RejectionReason
from shared.contracts.topics import DEAD_LETTERS
from shared.kafka.dead_letters import LARGEST_LETTER_BYTES, letter_record
from shared.kafka.producer import MAX_REQUEST_BYTES, OutgoingRecord

NOW = "2026-06-02T00:00:00.000000Z"


@dataclass(frozen=True)
class Record:
    value: bytes | None
    key: bytes | None = b"cust_000001"
    headers: Headers = field(default_factory=list)
    topic: str = "bnpl-transactions"
    partition: int = 3
    offset: int = 12


def letter_for(record: Record) -> OutgoingRecord:
    return letter_record(Rejection(RejectionReason.SYNTAX, "", "JSON"), record, service="features", received_at=NOW)


def test_a_letter_holds_the_original_bytes_and_where_they_lay() -> None:
    sent = letter_for(Record(b"\x00poison", headers=[("h", b"v")]))
    letter = json.loads(sent.value or b"")
    assert (sent.topic, sent.key) == (DEAD_LETTERS.name, b"cust_000001")
    assert base64.b64decode(letter["value_base64"]) == b"\x00poison"
    assert (letter["topic"], letter["partition"], letter["offset"]) == ("bnpl-transactions", 3, 12)
    assert (letter["reason"], letter["service"], letter["headers"]) == ("syntax", "features", {"h": "v"})


def test_the_same_place_gives_the_same_id() -> None:
    sent = letter_for(Record(b"?"))
    assert header(sent.headers, "ce_id") == "bnpl-transactions/3/12"
    assert header(sent.headers, "ce_source") == "flit/features"


def test_a_letter_can_be_sent_however_large_key_and_headers_are() -> None:
    sent = letter_for(Record(b"x" * 1_000_000, key=b"k" * 500_000, headers=[("h", b"v" * 900_000)]))
    assert len(sent.value or b"") + len(sent.key or b"") <= LARGEST_LETTER_BYTES < MAX_REQUEST_BYTES
    letter = json.loads(sent.value or b"")
    assert (letter["value_bytes"], letter["headers"], letter["key_base64"]) == (1_000_000, {}, None)
