from __future__ import annotations

import pytest

from services.scorer.checkout import Question
from services.scorer.following import FORGOTTEN_AFTER_S, Following, StatesBehind
from shared.feature_state import Position
from tests.unit.scorer.fakes import Outside, field_of
from tests.unit.scorer.parts import body_of

BEHIND_S = 30.0


class Clock:
    now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def following(clock: Clock) -> Following:
    return Following(BEHIND_S, clock)


def test_states_may_lack_for_a_while_what_came(following: Following, clock: Clock) -> None:
    following.published(1, 500)
    clock.now_s += BEHIND_S
    following.check(1, 499)
    clock.now_s += 1
    with pytest.raises(StatesBehind, match="offset 500 is not in the states, only 499"):
        following.check(1, 499)
    following.check(1, 500)


def test_of_another_partition_nothing_is_told(following: Following, clock: Clock) -> None:
    following.published(1, 500)
    clock.now_s += 2 * BEHIND_S
    following.check(0, 3)


def test_states_that_follow_are_never_behind_however_long_it_goes_on(following: Following, clock: Clock) -> None:
    for offset in range(2_000):
        following.published(1, offset)
        clock.now_s += 0.5
        following.check(1, offset - 50)  # 25 seconds


def test_states_that_stand_still_are_behind_while_purchases_go_on(following: Following, clock: Clock) -> None:
    for offset in range(100):
        following.published(1, offset)
        clock.now_s += 0.5
    for _ in range(3):
        with pytest.raises(StatesBehind):
            following.check(1, 20)
    following.check(1, 99)
    following.published(1, 100)
    following.check(1, 99)


def test_a_log_that_was_made_anew_is_followed_anew(following: Following, clock: Clock) -> None:
    following.published(1, 1_000)
    clock.now_s += 2 * BEHIND_S
    following.published(1, 0)
    following.check(1, -1)


def test_what_is_never_reached_is_forgotten(following: Following, clock: Clock) -> None:
    following.published(1, 1_000)
    clock.now_s += FORGOTTEN_AFTER_S + 1
    following.check(1, 3)


async def test_a_checkout_on_states_that_stand_still_is_answered_by_the_fallback_and_says_so(outside: Outside) -> None:
    checkout, outside.states.position = outside.checkout(behind_s=-1.0), Position(-1, -1)
    assert field_of(await checkout.decide(Question(body_of(1, customer_id="anna"))), "degraded") == "no_model"
    assert field_of(await checkout.decide(Question(body_of(2, customer_id="anna"))), "degraded") == "state_unavailable"
    outside.states.position = Position(0, -1)
    assert field_of(await checkout.decide(Question(body_of(3, customer_id="anna"))), "degraded") == "no_model"
