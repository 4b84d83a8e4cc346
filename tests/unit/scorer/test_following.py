from __future__ import annotations

import msgspec
import pytest

from services.scorer.checkout import Question
from services.scorer.following import FORGOTTEN_AFTER_S, Following
from shared.contracts.topics import DECISIONS
from shared.feature_state import Position
from shared.policy import load_policy
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
    assert following.behind(1, 499) is None
    clock.now_s += 1
    assert following.behind(1, 499) == 500
    assert following.behind(1, 500) is None


def test_of_another_partition_nothing_is_told(following: Following, clock: Clock) -> None:
    following.published(1, 500)
    clock.now_s += 2 * BEHIND_S
    assert following.behind(0, 3) is None


def test_states_that_follow_are_never_behind_however_long_it_goes_on(following: Following, clock: Clock) -> None:
    for offset in range(2_000):
        following.published(1, offset)
        clock.now_s += 0.5
        assert following.behind(1, offset - 50) is None  # 25 seconds


def test_states_that_stand_still_are_behind_while_purchases_go_on(following: Following, clock: Clock) -> None:
    for offset in range(100):
        following.published(1, offset)
        clock.now_s += 0.5
    for _ in range(3):
        assert following.behind(1, 20) is not None
    assert following.behind(1, 99) is None
    following.published(1, 100)
    assert following.behind(1, 99) is None


def test_a_log_that_was_made_anew_is_followed_anew(following: Following, clock: Clock) -> None:
    following.published(1, 1_000)
    clock.now_s += 2 * BEHIND_S
    following.published(1, 0)
    assert following.behind(1, -1) is None


def test_what_is_never_reached_is_forgotten(following: Following, clock: Clock) -> None:
    following.published(1, 1_000)
    clock.now_s += FORGOTTEN_AFTER_S + 1
    assert following.behind(1, 3) is None


async def test_a_checkout_on_states_that_stand_still_is_decided_by_the_fallback_and_says_so(outside: Outside) -> None:
    checkout, outside.states.position = outside.checkout(behind_s=-1.0), Position(-1, -1)
    assert field_of(await checkout.decide(Question(body_of(1, customer_id="anna"))), "degraded") == "no_model"
    answer = await checkout.decide(Question(body_of(2, customer_id="anna")))
    assert (field_of(answer, "degraded"), field_of(answer, "as_of")) == (
        "state_unavailable",
        {"transactions": -1, "outcomes": -1},
    )
    assert outside.sender.on(DECISIONS.name)[-1] == answer
    outside.states.position = Position(0, -1)
    assert field_of(await checkout.decide(Question(body_of(3, customer_id="anna"))), "degraded") == "no_model"


async def test_on_states_that_stand_still_the_limit_holds_and_the_answer_is_the_events(outside: Outside) -> None:
    checkout, outside.states.position = outside.checkout(behind_s=-1.0), Position(-1, -1)
    bodies = [body_of(number, transaction_id=f"txn_{number}", customer_id="anna", amount=99.0) for number in range(30)]
    answers = [await checkout.decide(Question(body)) for body in bodies]
    verdicts = [field_of(answer, "decision") for answer in answers]
    limit = load_policy().exposure
    assert limit is not None
    approved = limit.limit_cents // 9_900
    assert verdicts == ["approve"] * approved + ["review"] * (30 - approved)
    assert [reason["code"] for reason in msgspec.json.decode(answers[-1])["reasons"]] == ["policy_exposure_limit"]
    outside.states.position = Position(29, -1)
    assert [await checkout.decide(Question(body)) for body in bodies] == answers
