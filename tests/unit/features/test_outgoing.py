"""What is sent, down to headers and sizes."""

from __future__ import annotations

import pytest

from services.features.outgoing import rerouted, vector_record
from shared.contracts.events import AsOf
from shared.contracts.headers import header
from shared.contracts.topics import DAY_MS, FEATURES, OLDEST_RECORD_MS
from shared.feature_definitions import CustomerState, make_vector
from shared.telemetry.tracing import HANDED_ON
from tests import factories
from tests.unit.features.records import HOME, LONG_AFTER_MS, purchase

NOW = "2026-06-02T00:00:00.000000Z"
TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
VECTOR = make_vector(CustomerState(), factories.accepted(), AsOf(transactions=-1, outcomes=-1), NOW)


def test_a_vector_goes_under_its_customers_key_with_the_purchases_trace() -> None:
    sent = vector_record(VECTOR, purchase(0), TRACE)
    assert (sent.topic, sent.key, sent.partition) == (FEATURES.name, b"cust_000001", 0)
    assert header(sent.headers, "ce_id") == "event-0"
    assert header(sent.headers, "traceparent") == TRACE


@pytest.mark.parametrize("given", [TRACE.encode(), b"x" * 1_000_000, b"00-" + b"x" * 52, TRACE[:-2].encode() + b"+1"])
def test_a_trace_travels_on_and_what_is_none_does_not(given: bytes) -> None:
    record = purchase(0, headers=[("traceparent", given)])
    sent = vector_record(VECTOR, record, HANDED_ON.traceparent(record))
    assert header(sent.headers, "traceparent") == (TRACE if given == TRACE.encode() else None)


@pytest.mark.parametrize(
    ("timestamp_ms", "told"),
    [(1_780_272_366_123, "2026-06-01T00:06:06.123000Z"), (-1, "1970-01-01T00:00:00.000000Z"),
     (2**63 - 1, "9999-12-31T23:59:59.000000Z")],
)  # fmt: skip
def test_a_vector_tells_when_its_purchase_was_recorded(timestamp_ms: int, told: str) -> None:
    sent = vector_record(VECTOR, purchase(0, timestamp_ms=timestamp_ms), None)
    assert header(sent.headers, "ce_recordedtime") == told


def test_a_rerouted_record_is_the_same_record_in_another_partition() -> None:
    record = purchase(0, partition=(HOME + 1) % 4, headers=[("ce_id", b"event-0")])
    sent = rerouted(record, HOME, LONG_AFTER_MS)
    assert (sent.topic, sent.key, sent.value) == (record.topic, record.key, record.value)
    assert (sent.partition, sent.timestamp_ms) == (HOME, LONG_AFTER_MS)
    assert [name for name, _ in sent.headers] == ["ce_id", "rerouted"]


@pytest.mark.parametrize(
    ("age_ms", "sent_age_ms"),
    [(98 * DAY_MS, 98 * DAY_MS), (OLDEST_RECORD_MS - 1000, OLDEST_RECORD_MS - DAY_MS), (400 * DAY_MS, 99 * DAY_MS)],
)
def test_a_rerouted_record_is_young_enough_for_the_brokers(age_ms: int, sent_age_ms: int) -> None:
    record = purchase(0, partition=(HOME + 1) % 4, timestamp_ms=LONG_AFTER_MS - age_ms)
    assert LONG_AFTER_MS - (rerouted(record, HOME, LONG_AFTER_MS).timestamp_ms or 0) == sent_age_ms


def test_a_rerouted_record_without_a_time_gets_none() -> None:
    record = purchase(0, partition=(HOME + 1) % 4, timestamp_ms=-1)
    assert rerouted(record, HOME, LONG_AFTER_MS).timestamp_ms == -1
