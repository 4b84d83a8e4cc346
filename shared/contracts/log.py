"""A record as it lay on its topic, whoever's client has read it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from shared.contracts.rejections import Rejection, RejectionReason

LARGEST_REROUTED_BYTES = 524_288
"""Half of what a producer may send: with its mark, a record of full size could never be sent again, and would hold up
its partition for good. Nothing that could be accepted is nearly as large."""


class KafkaRecord(Protocol):
    @property
    def topic(self) -> str: ...
    @property
    def partition(self) -> int: ...
    @property
    def offset(self) -> int: ...
    @property
    def key(self) -> bytes | None: ...
    @property
    def value(self) -> bytes | None: ...
    @property
    def headers(self) -> Sequence[tuple[str, bytes]]: ...


def size_of(record: KafkaRecord) -> int:
    """Bytes of key, value and headers."""
    marks = sum(len(name) + len(content or b"") for name, content in record.headers)
    return len(record.key or b"") + len(record.value or b"") + marks


def check_can_be_rerouted(record: KafkaRecord) -> None:
    """Of a record that lies in a partition which isn't its key's. Raises `Rejection` where it is too large."""
    if size_of(record) > LARGEST_REROUTED_BYTES:
        most = f"at most {LARGEST_REROUTED_BYTES} bytes in the wrong partition"
        raise Rejection(RejectionReason.SIZE, "", most)


class StampedRecord(KafkaRecord, Protocol):
    @property
    def timestamp(self) -> int:
        """Milliseconds since 1970; in a record of others, any 64-bit number at all."""
        ...
