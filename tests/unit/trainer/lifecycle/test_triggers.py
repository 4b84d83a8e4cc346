"""When a training begins, in the stream's own time."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.trainer.lifecycle.triggers import (
    MICROS_PER_DAY,
    Plan,
    Seen,
    State,
    Trigger,
    back_off,
    decide,
    noted,
    trained,
)

PLAN = Plan(every_days=28, changed_days=7, back_off_days=1)
DAY = MICROS_PER_DAY


def at(day: float, **found: object) -> Seen:
    return Seen(int(day * DAY), **found)  # type: ignore[arg-type]


def run(days: int, seen: dict[int, dict[str, object]], *, in_vain: bool = False) -> list[tuple[int, Trigger]]:
    """Looks once a day; what was found lasts until the next entry. The days on which a training began."""
    state, found, began = State(), dict[str, object](), []
    for day in range(days):
        found = seen.get(day, found)
        look = at(day, **found)
        state = noted(state, look)
        decision = decide(state, look, PLAN)
        if decision.trigger is not None:
            began.append((day, decision.trigger))
            state = trained(state, look.clock_us, in_vain=in_vain)
    return began


def test_the_first_look_trains_and_then_the_schedule_does() -> None:
    assert run(60, {}) == [(0, Trigger.FIRST), (28, Trigger.SCHEDULE), (56, Trigger.SCHEDULE)]


def test_a_new_drift_is_trained_for_at_once_and_then_weekly_until_it_is_over() -> None:
    began = run(50, {10: {"drift": True}, 30: {}})
    assert began == [(0, Trigger.FIRST), (10, Trigger.DRIFT), (17, Trigger.DRIFT), (24, Trigger.DRIFT)]


def test_a_loss_of_performance_is_its_own_trigger() -> None:
    assert run(12, {5: {"performance": True}})[1:] == [(5, Trigger.PERFORMANCE)]


def test_a_second_change_after_a_quiet_time_is_new_again() -> None:
    began = run(20, {3: {"drift": True}, 5: {}, 6: {"drift": True}})
    assert began == [(0, Trigger.FIRST), (3, Trigger.DRIFT), (6, Trigger.DRIFT), (13, Trigger.DRIFT)]


def test_trainings_in_vain_become_rarer_up_to_the_schedule() -> None:
    days = [day for day, _ in run(100, {0: {"drift": True}}, in_vain=True)]
    gaps = [later - earlier for earlier, later in pairwise(days)]
    # Known before the first training, so the weekly rhythm holds until the back-off is longer than it.
    assert gaps == [7, 7, 7, 8, 16, 28]


def test_poisoned_data_starts_nothing_whatever_else_is_found() -> None:
    assert run(40, {0: {"drift": True, "performance": True, "poisoned": ("dead letters: 30%",)}}) == []


def test_the_change_keeps_the_moment_at_which_it_began() -> None:
    state = noted(State(), at(20, drift=True, changed_from_us=13 * DAY))
    state = noted(state, at(25, drift=True, changed_from_us=18 * DAY))
    assert (state.changed_at_us, state.learnt_of_us) == (13 * DAY, 20 * DAY)


def test_a_change_that_is_over_is_forgotten() -> None:
    assert noted(State(changed_at_us=1, learnt_of_us=2), at(9)) == State()


looks = st.lists(
    st.tuples(st.floats(0.1, 5.0), st.booleans(), st.booleans(), st.booleans(), st.booleans()), min_size=1, max_size=80
)


@given(looks)
def test_no_two_trainings_are_closer_than_the_back_off_between_them(
    course: list[tuple[float, bool, bool, bool, bool]],
) -> None:
    state, day, last = State(), 0.0, None
    for gap, drift, performance, poisoned, in_vain in course:
        day += gap
        look = at(day, drift=drift, performance=performance, poisoned=("bad",) if poisoned else ())
        state = noted(state, look)
        if decide(state, look, PLAN).trigger is None:
            continue
        assert not poisoned
        if last is not None:
            assert (look.clock_us - last) / DAY >= back_off(state, PLAN)
        state, last = trained(state, look.clock_us, in_vain=in_vain), look.clock_us


@pytest.mark.parametrize(("in_vain", "days"), [(0, 0), (1, 1), (2, 2), (3, 4), (6, 28), (400, 28)])
def test_the_back_off_doubles_and_ends_at_the_schedule(in_vain: int, days: float) -> None:
    assert back_off(State(in_vain=in_vain), PLAN) == days
