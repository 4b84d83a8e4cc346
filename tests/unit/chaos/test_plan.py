"""Which faults there are, and which of them meet."""

from __future__ import annotations

from tests.chaos.__main__ import FAULTS_OF_A_SYSTEM, _plan
from tests.chaos.crowd import p99
from tests.chaos.faults import BY_NAME, FAULTS
from tests.chaos.world import World


def test_every_fault_has_a_name_of_its_own() -> None:
    assert len(BY_NAME) == len(FAULTS)


def test_every_fault_is_planned_once_on_a_system_with_the_brokers_that_it_needs() -> None:
    plan = _plan(FAULTS, seed=1)
    assert sorted(fault.name for alike in plan for fault in alike) == sorted(BY_NAME)
    assert all(len({fault.brokers for fault in alike}) == 1 for alike in plan)
    assert max(len(alike) for alike in plan) <= FAULTS_OF_A_SYSTEM + 1


def test_another_seed_is_another_order_and_the_same_seed_the_same() -> None:
    assert _plan(FAULTS, seed=1) == _plan(FAULTS, seed=1) != _plan(FAULTS, seed=2)


def test_what_leaves_much_in_the_log_comes_last() -> None:
    for alike in _plan(FAULTS, seed=3):
        heavy = [fault.heavy for fault in alike]
        assert heavy == sorted(heavy)


def test_what_hits_sink_or_warehouse_has_recovered_when_the_sink_has() -> None:
    """Decisions go on meanwhile: they tell nothing of it."""
    hit = [fault for fault in FAULTS if fault.service in ("sink", "bigquery")]
    assert len(hit) > 10
    assert [fault.name for fault in hit if fault.recovered is World.works] == []


def test_one_slow_answer_in_a_hundred_is_the_p99() -> None:
    assert p99([0.001] * 99 + [9.0]) == 9.0
    assert p99([]) == 0.0
