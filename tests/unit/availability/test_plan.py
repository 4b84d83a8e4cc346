"""When processes are ended, and how calls are counted."""

from __future__ import annotations

from itertools import pairwise

import pytest

from tests.availability.__main__ import PROCESSES, result
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


HAPPENED = [{"kind": "crash", "back_after_s": 2.5}] * (len(PROCESSES) + 1)
BALANCED = {"balanced": True, "invariants": {"P2": {"checked": 1000}}}


def test_it_passes_where_every_call_was_answered() -> None:
    assert result(calls(), HAPPENED, 3, BALANCED, {})["passed"] is True


def test_one_call_without_an_answer_fails_it() -> None:
    one_lost = calls()
    one_lost.sent += 1
    one_lost.failed["connection"] += 1
    assert result(one_lost, HAPPENED, 3, BALANCED, {})["passed"] is False


def test_a_ledger_that_does_not_balance_fails_it() -> None:
    assert result(calls(), HAPPENED, 3, {**BALANCED, "balanced": False}, {})["passed"] is False


def test_a_run_in_which_not_everything_happened_fails() -> None:
    assert result(calls(), HAPPENED[1:], 3, BALANCED, {})["passed"] is False


def test_a_process_that_is_not_back_fails_it() -> None:
    gone = {"kind": "crash", "back_after_s": None}
    assert result(calls(), [*HAPPENED[1:], gone], 3, BALANCED, {})["passed"] is False
