"""Admission: finds how many requests at once are still answered in time."""

from __future__ import annotations

import asyncio
import heapq
import time

import pytest

from services.scorer.admission import (
    BUSY_S,
    FEWEST,
    FIRST,
    FORGOTTEN_S,
    QUIET_S,
    Admission,
    Heartbeat,
    Overloaded,
)

WITHIN_S = 0.1


def always_late() -> float:
    """Of an event loop that has more to do than it can."""
    return 1.0


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def crowd(admission: Admission, clock: Clock, *, clients: int, per_second: float, seconds: float) -> list[float]:
    """Latencies of the admitted, of `clients` who each ask again a second after a refusal, and at once after an answer,
    at a machine that answers one after the other."""
    took: list[float] = []
    free_at, end = clock.now, clock.now + seconds
    asking = [(clock.now + number * 1e-3, number, 0.0) for number in range(clients)]
    answered: list[tuple[float, int, object]] = []
    heapq.heapify(asking)
    while asking or answered:
        if answered and (not asking or answered[0][0] <= asking[0][0]):
            clock.now, number, place = heapq.heappop(answered)
            place.__exit__(None, None, None)  # type: ignore[attr-defined]
            if clock.now < end:
                heapq.heappush(asking, (clock.now + 1e-6, number, 0.0))
            continue
        clock.now, number, _ = heapq.heappop(asking)
        place = admission.place(clock.now)
        try:
            place.__enter__()
        except Overloaded:
            if clock.now + 1.0 < end:
                heapq.heappush(asking, (clock.now + 1.0, number, 0.0))
            continue
        free_at = max(free_at, clock.now) + 1.0 / per_second
        took.append(free_at - clock.now)
        heapq.heappush(answered, (free_at, number, place))
    return took


@pytest.mark.parametrize("per_second", [500.0, 1000.0, 2000.0])
def test_a_crowd_is_let_in_only_as_far_as_it_is_answered_in_time(per_second: float) -> None:
    clock = Clock()
    admission = Admission(most=256, within_s=WITHIN_S, late_s=always_late, clock=clock)
    took = crowd(admission, clock, clients=800, per_second=per_second, seconds=20.0)
    settled = sorted(took[len(took) // 4 :])
    assert settled[int(0.99 * len(settled))] <= 1.3 * WITHIN_S
    assert len(took) >= 0.95 * 20.0 * per_second, "the machine was left waiting"


def test_a_machine_that_gets_faster_is_given_more() -> None:
    clock = Clock()
    admission = Admission(most=256, within_s=WITHIN_S, late_s=always_late, clock=clock)
    crowd(admission, clock, clients=400, per_second=200.0, seconds=20.0)
    slow = admission.limit
    crowd(admission, clock, clients=400, per_second=2000.0, seconds=20.0)
    assert slow <= 30 < 100 < admission.limit


def test_a_crowds_first_ones_are_few() -> None:
    clock = Clock()
    admission = Admission(most=256, within_s=WITHIN_S, late_s=always_late, clock=clock)
    took = crowd(admission, clock, clients=800, per_second=100.0, seconds=6.0)
    assert sorted(took)[int(0.99 * len(took))] <= FIRST / 100.0 + WITHIN_S


def test_a_process_that_is_fast_enough_opens_up_within_as_many_answers() -> None:
    clock = Clock()
    admission = Admission(most=256, within_s=WITHIN_S, late_s=always_late, clock=clock)
    took = crowd(admission, clock, clients=256, per_second=5000.0, seconds=1.0)
    assert admission.limit == 256
    assert max(took) <= WITHIN_S


def test_requests_that_were_in_work_together_take_places_away_once() -> None:
    clock = Clock()
    admission = Admission(most=FIRST, within_s=WITHIN_S, late_s=always_late, clock=clock)
    places = [admission.place(0.0) for _ in range(FIRST)]
    for place in places:
        place.__enter__()
    clock.now = 1.0
    for place in places:
        place.__exit__(None, None, None)
    assert admission.limit == FIRST // 2


def test_some_places_are_always_there() -> None:
    clock = Clock()
    admission = Admission(most=100, within_s=WITHIN_S, late_s=always_late, clock=clock)
    crowd(admission, clock, clients=400, per_second=10.0, seconds=200.0)
    assert admission.limit == FEWEST


def test_few_requests_say_nothing_about_how_many_there_might_be() -> None:
    clock = Clock()
    admission = Admission(most=100, within_s=WITHIN_S, late_s=always_late, clock=clock)
    for _ in range(100):
        with admission.place(clock.now):
            clock.now += 1.0
    assert admission.limit == FIRST, "the machine was slow, not crowded"
    crowd(admission, clock, clients=400, per_second=10.0, seconds=200.0)
    for _ in range(1000):
        with admission.place(clock.now):
            clock.now += 0.001
    assert admission.limit == FEWEST


def test_what_nobody_needed_for_a_while_is_found_anew() -> None:
    clock = Clock()
    admission = Admission(most=256, within_s=WITHIN_S, late_s=always_late, clock=clock)
    crowd(admission, clock, clients=256, per_second=5000.0, seconds=1.0)
    with admission.place(clock.now):
        assert admission.limit == 256
    clock.now += FORGOTTEN_S + 1
    with admission.place(clock.now):
        assert admission.limit == FIRST


def test_no_place_is_lost_to_an_error() -> None:
    admission = Admission(most=1, within_s=WITHIN_S, late_s=always_late)
    for _ in range(3):
        with pytest.raises(ValueError, match="x"), admission.place(0.0):
            raise ValueError("x")
    with admission.place(0.0), pytest.raises(Overloaded):
        admission.check(0.0)


def test_while_others_are_slow_nobody_is_turned_away() -> None:
    clock = Clock()
    admission = Admission(most=256, within_s=WITHIN_S, clock=clock)
    places = [admission.place(0.0) for _ in range(256)]
    for place in places:
        place.__enter__()
    with pytest.raises(Overloaded):
        admission.check(clock.now)
    clock.now = 5.0
    for place in places:
        place.__exit__(None, None, None)
    assert admission.limit == FIRST, "Kafka was slow, not we"


@pytest.mark.parametrize("per_second", [200.0, 400.0, 800.0])
def test_in_a_queue_behind_others_no_more_wait_than_are_answered_in_time(per_second: float) -> None:
    """The machine does all it can, though the loop itself is never late."""
    clock = Clock()
    admission = Admission(most=256, within_s=WITHIN_S, clock=clock)
    took = crowd(admission, clock, clients=800, per_second=per_second, seconds=20.0)
    settled = sorted(took[len(took) // 4 :])
    assert settled[int(0.99 * len(settled))] <= 1.5 * WITHIN_S
    assert len(took) >= 0.95 * 20.0 * per_second, "the machine was left waiting"


def let_in(admission: Admission, clock: Clock, *, per_second: float, each_s: float, seconds: float) -> float:
    """The share of those let in who come one after the other, whoever was let in before them, and take as long each."""
    ends: list[tuple[float, int, object]] = []
    asked, taken, begin = 0, 0, clock.now
    while (due := begin + asked / per_second) < begin + seconds:
        while ends and ends[0][0] <= due:
            clock.now, _, place = heapq.heappop(ends)
            place.__exit__(None, None, None)  # type: ignore[attr-defined]
        clock.now = due
        place = admission.place(due)
        asked += 1
        try:
            place.__enter__()
        except Overloaded:
            continue
        taken += 1
        heapq.heappush(ends, (due + each_s, asked, place))
    for clock.now, _, place in sorted(ends, key=lambda one: one[:2]):
        place.__exit__(None, None, None)  # type: ignore[attr-defined]
    return taken / asked


def test_where_each_takes_long_by_itself_all_are_let_in_and_more_when_more_come() -> None:
    clock = Clock()
    admission = Admission(most=256, within_s=WITHIN_S, clock=clock)
    assert let_in(admission, clock, per_second=100.0, each_s=0.5, seconds=20.0) == 1.0
    assert let_in(admission, clock, per_second=400.0, each_s=0.5, seconds=20.0) == 1.0
    # Then as many as there may ever be: 256 in half a second.
    assert let_in(admission, clock, per_second=1000.0, each_s=0.5, seconds=20.0) >= 0.95 * 0.512


def test_a_crowd_at_a_kafka_that_has_become_slow_is_let_in_again_once_that_is_known() -> None:
    clock = Clock()
    admission = Admission(most=256, within_s=WITHIN_S, clock=clock)
    crowd(admission, clock, clients=800, per_second=400.0, seconds=20.0)
    let_in(admission, clock, per_second=300.0, each_s=0.5, seconds=20.0)
    assert let_in(admission, clock, per_second=300.0, each_s=0.5, seconds=20.0) >= 0.95


def test_a_crowd_that_stays_is_not_tried_anew() -> None:
    clock = Clock()
    admission = Admission(most=256, within_s=WITHIN_S, clock=clock)
    crowd(admission, clock, clients=800, per_second=400.0, seconds=1.0)
    took = crowd(admission, clock, clients=800, per_second=400.0, seconds=3 * FORGOTTEN_S)
    assert max(took[100:]) <= 2 * WITHIN_S


def test_after_kafka_stood_still_nobody_is_turned_away() -> None:
    clock = Clock()
    admission = Admission(most=256, within_s=WITHIN_S, clock=clock)
    for each_s in (0.02, 2.0, 0.02):
        assert let_in(admission, clock, per_second=100.0, each_s=each_s, seconds=2.0) == 1.0


def test_a_request_that_waited_for_its_turn_tells_of_a_busy_loop() -> None:
    clock = Clock()
    admission = Admission(most=256, within_s=WITHIN_S, clock=clock)
    places = [admission.place(clock.now) for _ in range(FIRST)]
    for place in places:
        place.__enter__()
    assert not admission.full(clock.now)
    clock.now += 2 * BUSY_S
    assert admission.full(0.0)


async def test_the_heartbeat_tells_how_late_the_loop_is() -> None:
    heartbeat = Heartbeat()
    async with heartbeat.beating():
        await asyncio.sleep(0)
        end = time.monotonic() + 0.2
        while time.monotonic() < end:
            pass
        assert heartbeat.late_s() > 0.15, "the next beat is overdue"
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert heartbeat.late_s() > 0.15
    late_s = heartbeat.late_s()
    await asyncio.sleep(0.05)
    assert heartbeat.late_s() == late_s, "nobody waits for a beat any more"


def test_it_is_quiet_once_nobody_has_come_for_a_while() -> None:
    clock = Clock()
    admission = Admission(most=4, within_s=WITHIN_S, clock=clock)
    seen = [admission.quiet]
    with admission.place(clock.now):
        clock.now += 2 * QUIET_S
        seen.append(admission.quiet)
    clock.now += QUIET_S
    seen.append(admission.quiet)
    clock.now += 0.01
    assert [*seen, admission.quiet] == [True, False, False, True]
