"""The capacity model: curves through what was measured, and plans that the busiest pod fits into."""

from __future__ import annotations

from dataclasses import replace

import pytest

from deploy.capacity import page
from deploy.capacity.cost import along, door_cpu, predicted_cpu, redis_bytes, state_bytes, stream_cpu
from deploy.capacity.demand import Demand
from deploy.capacity.figures import Figures, Process, read
from deploy.capacity.plan import CONSUMERS, DOOR, DoesNotFit, Plan, Pods, plan, shares
from shared.contracts.topics import ALL


def process(**changes: object) -> Process:
    """Lone purchases cost 2 ms, a hundred a second 1.5 ms each, full batches 0.5 ms."""
    made = {
        "idle_cpu": 0.02, "stream": ((10.0, 0.02), (100.0, 0.15)), "door": ((20.0, 0.02),), "stream_full_s": 0.0005,
        "door_full_s": 0.0007, "outcome_full_s": 0.0001, "resident_mb": 150.0,
    }  # fmt: skip
    return Process(**(made | changes))  # type: ignore[arg-type]


FIGURES = Figures(
    measured_at="2026-01-01",
    machine="a test",
    partitions=4,
    processes={name: process() for name in (*CONSUMERS, "kafka", "valkey")},
    record_bytes={topic.name: 800.0 for topic in ALL},
    state_bytes=((1.0, 500.0), (10.0, 1000.0), (30.0, 1800.0)),
    claim_bytes=1000.0,
    idempotency_bytes=100.0,
    row_bytes={"flit_ml_raw.features": 900.0},
)
DEMAND = Demand(300, 50, 200_000)


def test_a_curve_goes_through_what_was_measured() -> None:
    points = [(10.0, 0.02), (100.0, 0.15)]
    assert [along(points, at, 0.001) for at in (0, 5, 10, 55, 100, 200)] == pytest.approx(
        [0.0, 0.01, 0.02, 0.085, 0.15, 0.25]
    )


def test_partitions_together_cost_what_was_measured_with_as_many() -> None:
    assert stream_cpu(process(), 4, [25.0] * 4) == pytest.approx(0.15)


def test_the_same_purchases_on_more_partitions_cost_more_for_their_batches_are_smaller() -> None:
    assert stream_cpu(process(), 4, [100.0] * 4) < stream_cpu(process(), 4, [400.0 / 64] * 64)


def test_full_batches_alone_keep_one_core_busy_at_their_own_rate() -> None:
    assert stream_cpu(process(), 4, [500.0] * 4) == pytest.approx(1.0)


def test_an_idle_partition_costs_nothing() -> None:
    assert stream_cpu(process(), 4, []) == stream_cpu(process(), 4, [0.0] * 4) == 0.0


def test_a_door_at_its_limit_costs_a_core() -> None:
    assert door_cpu(process(), 1 / 0.0007) == pytest.approx(1.0)


def test_checkouts_cost_the_door_and_the_stream() -> None:
    found = predicted_cpu(FIGURES, events=80, checkouts=20)
    assert found["scorer"] == pytest.approx(0.02 + 0.15 + 0.02)


def test_a_state_grows_with_its_purchases() -> None:
    assert [state_bytes(FIGURES, number) for number in (0, 1, 20, 30, 40)] == pytest.approx([0, 500, 1400, 1800, 2200])


def test_redis_holds_states_claims_and_keys() -> None:
    assert redis_bytes(FIGURES, customers=10, purchases_each=10, claims=5, keys=3) == 10_000 + 5000 + 300


def test_the_busiest_pod_of_a_plan_is_no_busier_than_it_may_be() -> None:
    for each in plan(FIGURES, DEMAND).pods:
        assert each.busiest_cpu <= DEMAND.busy
        assert each.count * each.busiest_cpu >= each.total_cpu


def pods(made: Plan, service: str) -> Pods:
    return next(each for each in made.pods if each.service == service)


def test_where_a_core_may_be_less_busy_more_pods_are_needed() -> None:
    demand = Demand(8000, 50, 200_000, partitions=64)
    found = pods(plan(FIGURES, demand), "features")
    calmer = pods(plan(FIGURES, replace(demand, busy=found.busiest_cpu * 0.99)), "features")
    assert calmer.count > found.count > 2
    assert calmer.busiest_cpu < found.busiest_cpu


def test_partitions_leave_room_to_grow() -> None:
    made = plan(FIGURES, Demand(3000, 0, 1_000_000))
    assert made.partitions >= 2 * max(each.count for each in made.pods)


def test_a_scorer_has_pods_beyond_the_partitions_for_checkouts_alone() -> None:
    made = plan(FIGURES, Demand(10, 1900, 1_000_000, partitions=4))
    assert pods(made, DOOR).count > 4


def test_a_load_that_no_pod_of_a_partition_can_bear_is_refused() -> None:
    with pytest.raises(DoesNotFit, match="features"):
        plan(FIGURES, Demand(20_000, 0, 1_000_000, partitions=4))


def test_shorter_claims_need_less_of_redis() -> None:
    assert plan(FIGURES, replace(DEMAND, claim_days=7)).redis_gb < plan(FIGURES, DEMAND).redis_gb / 2


def test_every_partition_has_customers_and_none_has_many_times_its_share() -> None:
    placed = shares(64, 1_000_000)
    assert sum(placed) == pytest.approx(1.0)
    assert 0.5 < min(placed) * 64 < 1.0 < max(placed) * 64 < 1.5


def test_few_customers_are_less_even() -> None:
    assert max(shares(64, 500)) > max(shares(64, 50_000))


def test_the_page_shows_the_figures_that_are_committed() -> None:
    text = page.PAGE.read_text()
    assert page.filled(text, read()) == text, "run `python -m deploy.capacity --page write`"


def test_a_page_without_its_marks_is_not_written() -> None:
    with pytest.raises(ValueError, match="measured"):
        page.filled("# Capacity\n", FIGURES)
