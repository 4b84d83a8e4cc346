"""Build the letter for a record that was refused."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable

from shared.contracts.events import DeadLetter
from shared.contracts.rejections import Rejection

MAX_VALUE_BYTES = 65_536
"""Kept of the original value; its hash and length are always of the whole."""


def dead_letter(
    rejection: Rejection,
    *,
    service: str,
    topic: str,
    partition: int,
    offset: int,
    received_at: str,
    key: bytes | None,
    value: bytes | None,
    headers: Iterable[tuple[str, bytes]] | None = None,
) -> DeadLetter:
    """The letter of one refused record. `topic`, `partition`, `offset`: where it lay (partition -1: not from Kafka)."""
    whole = value or b""
    return DeadLetter(
        reason=rejection.reason.value,
        detail=str(rejection),
        service=service,
        topic=topic,
        partition=partition,
        offset=offset,
        received_at=received_at,
        key_base64=None if key is None else base64.b64encode(key).decode(),
        value_base64=None if value is None else base64.b64encode(whole[:MAX_VALUE_BYTES]).decode(),
        value_sha256=hashlib.sha256(whole).hexdigest(),
        value_bytes=len(whole),
        headers={name: (content or b"").decode("utf-8", "replace") for name, content in headers or ()},
    )
