"""Records of the input topics, as the pipeline gets them."""

from __future__ import annotations

import json
from typing import Any

from services.features.pipeline import LogRecord
from shared.contracts.headers import Headers
from shared.contracts.identity import partition_of
from shared.contracts.topics import OUTCOMES, TRANSACTIONS
from tests import factories

PARTITIONS = 4
LONG_AFTER_MS = (factories.START_US + 1200 * factories.DAY_US) // 1000
"""Record timestamps of tests that aren't about the future."""

CUSTOMER = "cust_000001"
HOME = partition_of(CUSTOMER.encode(), PARTITIONS)


def purchase(
    number: int,
    /,
    *,
    offset: int | None = None,
    key: bytes | None = CUSTOMER.encode(),
    partition: int = HOME,
    timestamp_ms: int = LONG_AFTER_MS,
    headers: Headers | None = None,
    **changes: Any,
) -> LogRecord:
    """`factories.transaction(number)` at an offset (default: its number)."""
    return raw(
        factories.transaction_bytes(number, **changes),
        offset=number if offset is None else offset,
        key=key,
        partition=partition,
        timestamp_ms=timestamp_ms,
        headers=headers,
    )


def outcome(number: int, /, *, offset: int, **changes: Any) -> LogRecord:
    """`factories.outcome(number)` at an offset."""
    observed_us = changes.pop("observed_us", factories.START_US)
    value = json.dumps(factories.outcome(number, observed_us=observed_us, **changes)).encode()
    return raw(value, topic=OUTCOMES.name, offset=offset)


def raw(
    value: bytes | None,
    *,
    topic: str = TRANSACTIONS.name,
    offset: int = 0,
    key: bytes | None = CUSTOMER.encode(),
    partition: int = HOME,
    timestamp_ms: int = LONG_AFTER_MS,
    headers: Headers | None = None,
) -> LogRecord:
    return LogRecord(topic, partition, offset, timestamp_ms, key, value, headers or [])
