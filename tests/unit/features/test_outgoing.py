"""What is sent, down to headers and sizes."""

from __future__ import annotations

from services.features.outgoing import rerouted, vector_record
from shared.contracts.events import AsOf
from shared.contracts.headers import header
from shared.contracts.topics import FEATURES
from shared.feature_definitions import CustomerState, make_vector
from tests import factories
from tests.unit.features.records import HOME, LONG_AFTER_MS, purchase

NOW = "2026-06-02T00:00:00.000000Z"
TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
VECTOR = make_vector(CustomerState(), factories.accepted(), AsOf(transactions=-1, outcomes=-1), NOW)


def test_a_vector_goes_under_its_customers_key_with_the_purchases_trace() -> None:
    sent = vector_record(VECTOR, purchase(0, headers=[("traceparent", TRACE.encode())]))
    assert (sent.topic, sent.key, sent.partition) == (FEATURES.name, b"cust_000001", 0)
    assert header(sent.headers, "ce_id") == "event-0"
    assert header(sent.headers, "traceparent") == TRACE


def test_what_is_no_trace_does_not_travel_on() -> None:
    sent = vector_record(VECTOR, purchase(0, headers=[("traceparent", b"x" * 1_000_000)]))
    assert header(sent.headers, "traceparent") is None


def test_a_rerouted_record_is_the_same_record_in_another_partition() -> None:
    record = purchase(0, partition=(HOME + 1) % 4, headers=[("ce_id", b"event-0")])
    sent = rerouted(record, HOME)
    assert (sent.topic, sent.key, sent.value) == (record.topic, record.key, record.value)
    assert (sent.partition, sent.timestamp_ms) == (HOME, LONG_AFTER_MS)
    assert [name for name, _ in sent.headers] == ["ce_id", "rerouted"]
