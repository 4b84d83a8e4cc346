"""A system that stands still is asked less, and all that it was not asked is late."""

from __future__ import annotations

import math
from collections import Counter

import pytest

from tests.load.beats import BEAT_S, Beats
from tests.load.seen import CHECKOUT, Seen, objective

ANSWER_S = 0.02
ALLOWED_S = objective("CheckoutSlow").bound_s


def run(users: int, end_s: float, stall: tuple[float, float]) -> Seen:
    """Users that ask one question after the other of a door that answers nothing for a while."""
    times_ms: Counter[float] = Counter()
    asked = missed = 0
    for number in range(users):
        now = number / users
        beats = Beats(now)
        while True:
            now += beats.wait_s(now)
            if now >= end_s:
                break
            now = max(now, stall[1]) + ANSWER_S if stall[0] <= now < stall[1] else now + ANSWER_S
            times_ms[math.ceil(beats.done(now) * 1000)] += 1
            asked += 1
        waited = beats.missed(end_s, ALLOWED_S)
        times_ms.update(math.ceil(each * 1000) for each in waited)
        missed += len(waited)
    return Seen(CHECKOUT, asked, 0, times_ms, missed)


def test_a_door_that_answers_at_once_is_asked_at_each_beat() -> None:
    seen = run(10, 60.0, stall=(0.0, 0.0))
    assert (seen.requests, seen.missed) == (600, 0)
    assert set(seen.times_ms) <= {20, 21}


def test_each_beat_of_a_stall_is_late_by_as_much_as_it_waited() -> None:
    """Counted from when it was asked, one in sixty would be: that of each user who stood waiting."""
    seen = run(10, 60.0, stall=(20.0, 25.0))
    assert (seen.requests, seen.missed) == (600, 0), "what was held up is made up for"
    assert 5 * 10 <= seen.late(ALLOWED_S) <= 6 * 10
    assert sorted(seen.times_ms)[-1] == pytest.approx(5020, abs=2)
    assert seen.late(4.0) == pytest.approx(10, abs=1)
    assert not seen.kept()[1].held


def test_a_stall_that_outlasts_the_run_misses_what_fell_due_in_it() -> None:
    seen = run(10, 60.0, stall=(50.0, 90.0))
    assert (seen.requests, seen.missed) == (510, 90), "each user's own question is answered in the end"
    assert seen.due == sum(seen.times_ms.values()) == 600
    assert seen.late(ALLOWED_S) == pytest.approx(100, abs=2)


def test_what_has_only_just_fallen_due_at_the_end_is_not_missed() -> None:
    beats = Beats(10.0)
    assert beats.missed(10.0, 0.1) == beats.missed(10.1 - 1e-9, 0.1) == beats.missed(5.0, 0.1) == []
    assert beats.missed(12.5, 0.1) == pytest.approx([2.5, 1.5, 0.5])


def test_no_answer_moves_the_beat() -> None:
    beats = Beats(10.0)
    assert beats.done(13.25) == 3.25
    assert beats.due_s == 10.0 + BEAT_S
    assert beats.wait_s(13.25) == 0.0
    assert beats.wait_s(10.25) == 0.75
