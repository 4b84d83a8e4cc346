"""The record of a dead letter, for every service that refuses records of a topic."""

from __future__ import annotations

import msgspec

from shared.contracts.dead_letters import dead_letter
from shared.contracts.events import encode
from shared.contracts.headers import cloud_event
from shared.contracts.log import KafkaRecord
from shared.contracts.rejections import Rejection
from shared.contracts.topics import DEAD_LETTERS
from shared.kafka.producer import OutgoingRecord

LARGEST_LETTER_BYTES = 900_000
"""Below the producer's limit of one request (1 MiB), with room for its framing. Others may put a megabyte into a key or
into headers; a letter that can't be sent would stop the partition for good."""


def letter_record(rejection: Rejection, record: KafkaRecord, *, service: str, received_at: str) -> OutgoingRecord:
    """The dead letter of a refused record. Headers and key are left out where they alone would make it too large.

    Its `ce_id` is the record's place, so that refusing it again gives the same letter. `received_at`: canonical time.
    """
    letter = dead_letter(
        rejection,
        service=service,
        topic=record.topic,
        partition=record.partition,
        offset=record.offset,
        received_at=received_at,
        key=record.key,
        value=record.value,
        headers=record.headers,
    )
    key, value = record.key, encode(letter)
    if len(value) + len(key or b"") > LARGEST_LETTER_BYTES:
        key, value = None, encode(msgspec.structs.replace(letter, key_base64=None, headers={}))
    place = f"{record.topic}/{record.partition}/{record.offset}"
    marks = cloud_event(event_id=place, kind="dead-letter", source=f"flit/{service}", time=received_at)
    return OutgoingRecord(DEAD_LETTERS.name, key, value, marks)
