"""What was used up between two moments."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.capacity.watching import Moment, between

PURCHASES = (
    "scorer",
    "flit_events_total",
    frozenset({("service", "features"), ("topic", "bnpl-transactions"), ("result", "ok")}),
)
ELSEWHERE = (
    "scorer",
    "flit_events_total",
    frozenset({("service", "sink"), ("topic", "bnpl-transactions"), ("result", "ok")}),
)
CHECKOUTS = ("scorer", "flit_decision_seconds_count", frozenset({("channel", "rest")}))

BEFORE = Moment(100.0, {"sink": 7}, {"sink": 30.0}, {"sink": 90.0}, {PURCHASES: 10.0, ELSEWHERE: 500.0, CHECKOUTS: 1.0})
AFTER = Moment(
    140.0, {"sink": 7}, {"sink": 34.0}, {"sink": 95.0}, {PURCHASES: 810.0, ELSEWHERE: 900.0, CHECKOUTS: 81.0}
)


def test_a_span_has_what_happened_in_it_for_each_second() -> None:
    span = between(BEFORE, AFTER)
    assert (span.purchase_rate, span.checkout_rate, span.cpu("sink")) == (20.0, 2.0, 0.1)
    assert span.resident_mb == {"sink": 95.0}


def test_a_process_that_was_started_anew_makes_a_span_worthless() -> None:
    with pytest.raises(RuntimeError, match="anew"):
        between(BEFORE, replace(AFTER, pids={"sink": 8}))
