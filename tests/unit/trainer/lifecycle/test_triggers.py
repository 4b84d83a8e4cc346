"""When a training begins, in the stream's own time."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.trainer.lifecycle.triggers import (
    Came,
    Climber,
    Plan,
    Seen,
    State,
    Trigger,
    back_off,
    begun,
    decide,
    noted,
    trained,
)
from shared.feature_definitions.windows import MICROS_PER_DAY

DRIFT: dict[str, object] = {"drifted_from_us": 0}
LOSS: dict[str, object] = {"lost_from_us": 0}
PLAN = Plan(every_days=28, changed_days=7, back_off_days=1)
DAY = MICROS_PER_DAY


def at(day: float, **found: object) -> Seen:
    return Seen(int(day * DAY), **found)  # type: ignore[arg-type]


def run(days: int, seen: dict[int, dict[str, object]], came: Came = Came.CANDIDATE) -> list[tuple[int, Trigger]]:
    """Looks once a day; what was found lasts until the next entry. The days on which a training began."""
    state, found, began = State(), dict[str, object](), []
    for day in range(days):
        found = seen.get(day, found)
        look = at(day, **found)
        state = noted(state, look)
        decision = decide(state, look, PLAN)
        if decision.trigger is not None:
            began.append((day, decision.trigger))
            state = trained(state, look.clock_us, came)
    return began


def test_the_first_look_trains_and_then_the_schedule_does() -> None:
    assert run(60, {}) == [(0, Trigger.FIRST), (28, Trigger.SCHEDULE), (56, Trigger.SCHEDULE)]


def test_a_new_drift_is_trained_for_at_once_and_then_weekly_until_a_week_after_it_is_over() -> None:
    began = run(50, {10: DRIFT, 30: {}})
    drift = [(day, Trigger.DRIFT) for day in (10, 17, 24)]
    assert began == [(0, Trigger.FIRST), *drift, (31, Trigger.SCHEDULE)]


def test_a_loss_of_performance_is_its_own_trigger() -> None:
    assert run(12, {5: LOSS})[1:] == [(5, Trigger.PERFORMANCE)]


def test_a_second_change_after_a_quiet_time_is_new_again() -> None:
    began = run(20, {3: DRIFT, 5: {}, 6: DRIFT})
    assert began == [(0, Trigger.FIRST), (3, Trigger.DRIFT), (6, Trigger.DRIFT), (13, Trigger.DRIFT)]


def test_trainings_in_vain_become_rarer_up_to_the_schedule() -> None:
    days = [day for day, _ in run(100, {0: DRIFT}, Came.IN_VAIN)]
    gaps = [later - earlier for earlier, later in pairwise(days)]
    # Known before the first training, so the weekly rhythm holds until the back-off is longer than it.
    assert gaps == [7, 7, 7, 8, 16, 28]


def test_what_comes_too_early_makes_no_later_one_rarer() -> None:
    assert [day for day, _ in run(30, {0: DRIFT}, Came.TOO_EARLY)] == [0, 7, 14, 21, 28]


def test_before_anything_has_matured_it_is_tried_each_week() -> None:
    began = run(30, {}, Came.TOO_EARLY)
    assert began == [(0, Trigger.FIRST)] + [(day, Trigger.SCHEDULE) for day in (7, 14, 21, 28)]


def test_whoever_a_person_has_put_on_the_ladder_is_not_replaced_by_a_first_training() -> None:
    for climber in (
        Climber("a", "shadow", replaceable=True), Climber("a", "canary"), Climber("a", "probation", serves=True)
    ):  # fmt: skip
        assert decide(State(), at(0), PLAN, climber).trigger is None


def test_while_somebody_else_trains_nothing_is_tried_and_nothing_is_in_vain() -> None:
    state = State(tried_at_us=3 * DAY, in_vain=1, learnt_of_us=5 * DAY, lost_at_us=4 * DAY)
    assert trained(state, 9 * DAY, Came.BUSY) == state


def test_a_training_that_was_cut_off_is_begun_anew_twice_and_counts_as_in_vain_then() -> None:
    state = begun(State(), DAY)
    assert state == State(cut_off=1)
    state = begun(begun(state, 2 * DAY), 3 * DAY)
    assert state == State(tried_at_us=3 * DAY, in_vain=1, unjudged=True)
    assert decide(state, at(9), PLAN).trigger is None
    assert decide(state, at(10), PLAN).trigger is Trigger.SCHEDULE
    assert trained(State(cut_off=2), DAY, Came.CANDIDATE) == State(tried_at_us=DAY)


def test_a_look_that_saw_nothing_changes_nothing_that_is_known() -> None:
    state = State(drifted_at_us=1, lost_at_us=2, learnt_of_us=3)
    assert noted(state, at(9, blind="the champion can't be read")) == state


def test_times_of_bad_input_are_remembered_and_those_that_touch_are_one() -> None:
    state = State()
    for day in (10, 11, 12, 30):
        state = noted(state, at(day, poisoned=("a field is missing",)))
    assert noted(state, at(31)).poisoned == ((3 * DAY, 12 * DAY + 1), (23 * DAY, 30 * DAY + 1))


def test_what_is_remembered_begins_with_the_first_day_that_was_judged() -> None:
    """A look judges whole days. Those bought in the early hours of the first of them came in as broken as the rest."""
    state = noted(State(), at(10.9, poisoned=("a field is missing",)))
    assert state.poisoned == ((3 * DAY, int(10.9 * DAY) + 1),)


def test_poisoned_data_starts_nothing_whatever_else_is_found() -> None:
    assert run(40, {0: {**DRIFT, **LOSS, "poisoned": ("a field is missing",)}}) == []


def test_what_only_holds_trainings_up_is_forgotten_when_it_is_over() -> None:
    """Purchases that were accepted are sound, however many others weren't, and whoever tells no outcomes."""
    held: dict[str, object] = {"held": ("dead letters: 30%",)}
    assert run(10, {0: held, 5: {}}) == [(5, Trigger.FIRST)]
    assert noted(State(), at(10, **held)).poisoned == ()


def test_a_candidate_that_climbs_is_replaced_by_the_schedule_and_by_no_change_before_it() -> None:
    shadow, canary = Climber("a", "shadow", replaceable=True), Climber("a", "canary")
    probation = Climber("a", "probation", serves=True)
    state = State(tried_at_us=0)
    for day, climber, trigger in (
        (8, None, Trigger.PERFORMANCE), (8, shadow, None), (28, shadow, Trigger.PERFORMANCE), (28, canary, None),
        (8, probation, Trigger.PERFORMANCE),
    ):  # fmt: skip
        look = at(day, **LOSS)
        assert decide(noted(state, look), look, PLAN, climber).trigger is trigger


def test_a_drift_keeps_the_moment_at_which_it_was_first_noticed() -> None:
    state = noted(State(), at(20, drifted_from_us=13 * DAY))
    state = noted(state, at(25, drifted_from_us=18 * DAY))
    assert (state.changed_at_us, state.learnt_of_us) == (13 * DAY, 20 * DAY)


def test_a_loss_is_dated_by_the_latest_look() -> None:
    state = noted(State(), at(60, lost_from_us=5 * DAY))
    state = noted(state, at(61, lost_from_us=9 * DAY))
    assert (state.changed_at_us, state.learnt_of_us) == (9 * DAY, 60 * DAY)


def test_what_there_is_to_learn_began_with_the_younger_of_two_changes() -> None:
    state = noted(State(), at(20, drifted_from_us=13 * DAY))
    state = noted(state, at(60, drifted_from_us=53 * DAY, lost_from_us=40 * DAY))
    assert (state.changed_at_us, state.learnt_of_us) == (40 * DAY, 60 * DAY)


def test_a_loss_that_joins_a_drift_is_trained_for_at_once() -> None:
    began = run(25, {10: DRIFT, 19: {**DRIFT, **LOSS}})
    assert began == [(0, Trigger.FIRST), (10, Trigger.DRIFT), (17, Trigger.DRIFT), (19, Trigger.PERFORMANCE)]


def test_a_loss_does_not_wait_for_what_was_in_vain_before_it() -> None:
    tired = State(tried_at_us=20 * DAY, in_vain=6, drifted_at_us=1)
    assert decide(noted(tired, at(22, **DRIFT)), at(22, **DRIFT), PLAN).trigger is None
    both = at(22, **DRIFT, **LOSS)
    state = noted(tired, both)
    assert decide(state, both, PLAN).trigger is Trigger.PERFORMANCE
    # Only as it is noticed: from then on its own trainings count.
    assert noted(trained(state, both.clock_us, Came.IN_VAIN), at(23, **DRIFT, **LOSS)).in_vain == 2


def test_a_change_that_is_over_is_forgotten() -> None:
    state = noted(State(), at(9, drifted_from_us=1, lost_from_us=2))
    assert noted(state, at(10)) == State()


looks = st.lists(
    st.tuples(st.floats(0.1, 5.0), st.booleans(), st.booleans(), st.booleans(), st.sampled_from(Came)),
    min_size=1,
    max_size=80,
)


@given(looks)
def test_no_two_trainings_are_closer_than_the_back_off_between_them(
    course: list[tuple[float, bool, bool, bool, Came]],
) -> None:
    state, day, last = State(), 0.0, None
    for gap, drift, performance, poisoned, came in course:
        day += gap
        found = (DRIFT if drift else {}) | (LOSS if performance else {})
        look = at(day, poisoned=("bad",) if poisoned else (), **found)
        state = noted(state, look)
        if decide(state, look, PLAN).trigger is None:
            continue
        assert not poisoned
        if last is not None:
            assert (look.clock_us - last) / DAY >= back_off(state, PLAN)
        state = trained(state, look.clock_us, came)
        if came is not Came.BUSY:  # then there was none
            last = look.clock_us


@pytest.mark.parametrize(("in_vain", "days"), [(0, 0), (1, 1), (2, 2), (3, 4), (6, 28), (400, 28)])
def test_the_back_off_doubles_and_ends_at_the_schedule(in_vain: int, days: float) -> None:
    assert back_off(State(in_vain=in_vain), PLAN) == days


def test_what_was_learnt_in_a_hurry_is_followed_each_week_until_a_successor_has_passed() -> None:
    changed = State(lost_at_us=DAY, learnt_of_us=2 * DAY)
    state = trained(changed, 2 * DAY, Came.CANDIDATE)
    assert state.hurried
    state = noted(state, at(20))  # the new champion keeps its promise
    probation = Climber("b", "probation", serves=True)
    assert decide(state, at(20), PLAN, probation).trigger is Trigger.SCHEDULE
    state = trained(state, 20 * DAY, Came.IN_VAIN)
    assert decide(state, at(26), PLAN, probation).trigger is None
    assert decide(state, at(27), PLAN, probation).trigger is Trigger.SCHEDULE
    state = trained(state, 27 * DAY, Came.CANDIDATE)
    assert not state.hurried
    assert decide(state, at(48), PLAN, Climber("c", "shadow")).trigger is None, "it waits for the probation's end"
    assert decide(state, at(54), PLAN, probation).trigger is None
    assert decide(state, at(55), PLAN, probation).trigger is Trigger.SCHEDULE
