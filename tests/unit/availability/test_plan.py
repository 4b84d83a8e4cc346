"""When processes are ended, and how calls are counted."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import pytest

from tests.availability.__main__ import (
    DEGRADED_S,
    LEAST_DECIDED,
    P99_S,
    PROCESSES,
    SLOWEST_S,
    WORST_GAP_S,
    closing,
    result,
)
from tests.availability.calls import Calls
from tests.availability.plan import QUIET, ROLLING_RESTART, draw


@pytest.mark.parametrize("seed", range(20))
def test_each_process_is_killed_once_and_all_are_restarted_once(seed: int) -> None:
    events = draw(PROCESSES, 3600.0, seed)
    assert sorted(event.process for event in events if event.kind == "crash") == sorted(PROCESSES)
    assert [event.process for event in events if event.kind == ROLLING_RESTART] == [""]


@pytest.mark.parametrize("seed", range(20))
def test_nothing_happens_at_either_end_and_each_has_half_a_slot_to_recover(seed: int) -> None:
    moments = [event.at_s for event in draw(PROCESSES, 3600.0, seed)]
    slot = 3600.0 * (1 - 2 * QUIET) / (len(PROCESSES) + 1)
    assert moments[0] >= 3600 * QUIET
    assert moments[-1] <= 3600 * (1 - QUIET) - slot / 2
    assert min(later - earlier for earlier, later in pairwise(moments)) >= slot / 2


def test_the_seed_draws_order_and_moments() -> None:
    assert draw(PROCESSES, 3600.0, 1) == draw(PROCESSES, 3600.0, 1)
    assert draw(PROCESSES, 3600.0, 1) != draw(PROCESSES, 3600.0, 2)


def calls() -> Calls:
    return Calls(began=100.0, ended=110.0, sent=4, answered_at=[101.0, 109.0, 102.0, 103.5], took_s=[0.1] * 4)


def test_the_worst_gap_is_the_longest_time_without_an_answer() -> None:
    assert calls().worst_gap_s == 5.5


def test_calls_that_were_never_answered_are_one_long_gap() -> None:
    assert Calls(began=100.0, ended=110.0, sent=9).worst_gap_s == 10.0


BACK_S = 2.5
HAPPENED: list[dict[str, Any]] = [
    {"kind": "crash", "at_s": 50.0 * number, "back_after_s": BACK_S} for number in range(len(PROCESSES) + 1)
]
ASKED = {"events": 50, "calls": 10}
SECONDS = 600
LEAST = int(LEAST_DECIDED * SECONDS * 60)
BALANCED = {"balanced": True, "invariants": {"P2": {"checked": LEAST}}}


def steady(*degraded_at: float) -> Calls:
    """Ten minutes of ten calls a second, each answered in a tenth."""
    count = SECONDS * 10
    at = [100.0 + number / 10 for number in range(1, count + 1)]
    return Calls(100.0, 100.0 + SECONDS, count, at, [0.1] * count, list(degraded_at))


def passes(calls: Calls, happened: Sequence[dict[str, Any]] = HAPPENED, report: dict[str, Any] = BALANCED) -> bool:
    made = result(calls, happened, 3, report, ASKED)
    assert bool(made["shortcomings"]) is not made["passed"] or not report["balanced"]
    closing(made)
    return bool(made["passed"])


def test_it_passes_where_every_call_was_answered() -> None:
    assert passes(steady())


def test_one_call_without_an_answer_fails_it() -> None:
    one_lost = steady()
    one_lost.sent += 1
    one_lost.failed["connection"] += 1
    assert not passes(one_lost)


def test_no_call_at_all_fails_it() -> None:
    assert not passes(Calls(100.0, 100.0 + SECONDS))


def test_a_ledger_that_does_not_balance_fails_it() -> None:
    assert not passes(steady(), report={**BALANCED, "balanced": False})


def test_a_ledger_that_checked_nothing_fails_it() -> None:
    assert not passes(steady(), report={"balanced": True, "invariants": {}})


def test_a_run_in_which_not_everything_happened_fails() -> None:
    assert not passes(steady(), HAPPENED[1:])


def test_a_process_that_is_not_back_fails_it() -> None:
    gone = {"kind": "crash", "at_s": 0.0, "back_after_s": None}
    assert not passes(steady(), [*HAPPENED[1:], gone])


def test_the_fallback_may_answer_for_a_while_after_each_end_and_no_longer() -> None:
    began = 100.0 + HAPPENED[1]["at_s"]
    assert passes(steady(began, began + BACK_S + DEGRADED_S))
    for moment in (began - 0.1, began + BACK_S + DEGRADED_S + 0.1):
        assert not passes(steady(moment))


def test_calls_that_take_long_fail_it_though_they_are_answered() -> None:
    slow = steady()
    slow.took_s[0] = SLOWEST_S + 0.1
    assert not passes(slow)
    slow.took_s = [P99_S + 0.1] * len(slow.took_s)
    assert not passes(slow)


def test_a_gap_in_which_neither_door_answers_fails_it() -> None:
    gap = steady()
    late = [moment for moment in gap.answered_at if not 300.0 < moment < 300.0 + WORST_GAP_S + 0.2]
    gap.answered_at = late + [400.0] * (len(gap.answered_at) - len(late))
    assert not passes(gap)


def test_fewer_decisions_than_the_load_would_make_fail_it() -> None:
    assert not passes(steady(), report={"balanced": True, "invariants": {"P2": {"checked": LEAST - 1}}})
