"""What one purchase costs, from what processes used up under loads that are known."""

from __future__ import annotations

import pytest

from deploy.capacity.cost import door_cpu, stream_cpu
from tests.capacity.compare import Compared
from tests.capacity.fitting import Spans, process_of, rising
from tests.capacity.watching import Span

IDLE, EVENT_S, CHECKOUT_S, FULL_S, DOOR_S, OUTCOME_S = 0.03, 0.002, 0.003, 0.0004, 0.0009, 0.0001


def span(seconds: float, purchases: float, checkouts: float, work_s: float) -> Span:
    """`work_s`: beyond idling."""
    return Span(
        seconds, purchases, checkouts, {"scorer": IDLE * seconds + work_s}, {"scorer": 100.0 + purchases / 1000}
    )


def paced(events: float, checkouts: float) -> Span:
    purchases = 60 * (events + checkouts)
    return span(60.0, purchases, 60 * checkouts, purchases * EVENT_S + 60 * checkouts * CHECKOUT_S)


SPANS = Spans(
    idle=span(30.0, 0, 0, 0),
    stream=[paced(20, 0), paced(80, 0), paced(200, 0)],
    door=[paced(40, 10), paced(40, 40)],
    full=span(20.0, 20_000, 0, 20_000 * FULL_S),
    asked=span(10.0, 9000, 9000, 10 * (900 * EVENT_S) * 0.3 + 9000 * DOOR_S),
    outcomes=span(5.0, 0, 0, 20_000 * OUTCOME_S),
    outcome_count=20_000,
)


def test_each_load_gives_back_what_it_was_made_from() -> None:
    made = process_of("scorer", SPANS)
    assert made.idle_cpu == pytest.approx(IDLE)
    assert dict(made.stream) == pytest.approx({20: 0.04, 80: 0.16, 200: 0.4})
    assert dict(made.door) == pytest.approx({10: 0.03, 40: 0.12})
    assert made.stream_full_s == pytest.approx(FULL_S)
    assert made.outcome_full_s == pytest.approx(OUTCOME_S)
    assert made.resident_mb == 120.0


def test_a_load_in_between_is_foretold() -> None:
    made = process_of("scorer", SPANS)
    foretold = stream_cpu(made, 4, [25.0] * 4) + door_cpu(made, 20.0)
    assert foretold == pytest.approx(100 * EVENT_S + 20 * CHECKOUT_S)


def test_noise_does_not_make_more_load_cheaper() -> None:
    assert rising([(80.0, 0.1), (20.0, 0.12), (200.0, 0.3)]) == ((20.0, 0.12), (80.0, 0.12), (200.0, 0.3))


@pytest.mark.parametrize(("predicted", "close"), [(1.2, True), (0.8, True), (1.21, False), (0.79, False)])
def test_the_model_may_be_a_fifth_off_either_way(predicted: float, close: bool) -> None:
    assert Compared("load", "sink", "CPU s/s", predicted, 1.0).close is close


def test_what_was_not_there_to_be_measured_is_not_close() -> None:
    assert not Compared("load", "sink", "CPU s/s", 0.5, 0.0).close
