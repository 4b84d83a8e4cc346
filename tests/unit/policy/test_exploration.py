from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.contracts.events import Transaction, Verdict
from shared.policy import ORDINARY, Circumstances, Policy, apply, circumstances_of, load_policy
from shared.policy.exploration import propensity, was_explored
from shared.policy.file import Exploration
from tests.unit.scorer.parts import accepted

EXPLORING = Circumstances(exploring=True)
RISKY = 0.10


def policy_with(share: str = "0.25", up_to: str = "0.20", salt: str = "a secret of ours", **changes: Any) -> Policy:
    exploration = Exploration(share=share, salt=salt, up_to_loss_rate=up_to, most_expected_loss_usd="500")  # type: ignore[arg-type]  # read from text, as in the file
    return load_policy().model_copy(update={"exploration": exploration, **changes})


def purchase(number: int) -> Transaction:
    return accepted(number).transaction


def verdict(number: int, probability: float, policy: Policy, circumstances: Circumstances = EXPLORING) -> Verdict:
    return apply(policy, purchase(number), {}, probability, None, circumstances).decision


def test_about_its_share_of_the_would_be_declines_is_approved() -> None:
    policy = policy_with()
    approved = sum(verdict(number, RISKY, policy) is Verdict.APPROVE for number in range(4000))
    # Binomial(4000, 0.25): six standard deviations are 164.
    assert abs(approved - 1000) < 164


def test_the_chosen_ones_are_the_same_every_time_and_others_under_another_salt() -> None:
    policy, other = policy_with(), policy_with(salt="another secret")
    chosen = [number for number in range(400) if verdict(number, RISKY, policy) is Verdict.APPROVE]
    assert chosen == [number for number in range(400) if verdict(number, RISKY, policy) is Verdict.APPROVE]
    assert chosen != [number for number in range(400) if verdict(number, RISKY, other) is Verdict.APPROVE]


@pytest.mark.parametrize(
    ("probability", "policy", "circumstances"),
    [
        (RISKY, policy_with(), ORDINARY),
        (RISKY, load_policy(), EXPLORING),
        (0.5, policy_with(), EXPLORING),
        (RISKY, policy_with(everything="decline"), EXPLORING),
    ],
    ids=["no budget", "no exploration", "beyond what is tried", "a rule speaks against it"],
)
def test_nothing_is_tried(probability: float, policy: Policy, circumstances: Circumstances) -> None:
    assert {verdict(number, probability, policy, circumstances) for number in range(200)} == {Verdict.DECLINE}


def test_held_approvals_and_held_declines_and_limits_come_first() -> None:
    policy = policy_with()
    for held, expected in (
        (Circumstances(exploring=True, declines_held=True), Verdict.REVIEW),
        (Circumstances(exploring=True, approvals_held=True), Verdict.DECLINE),
        (Circumstances(exploring=True, over_limit=True), Verdict.DECLINE),
    ):
        assert {verdict(number, RISKY, policy, held) for number in range(200)} == {expected}


def test_what_is_approved_or_reviewed_anyway_is_left_alone() -> None:
    policy = policy_with()
    assert {verdict(number, 0.01, policy) for number in range(100)} == {Verdict.APPROVE}
    assert {verdict(number, 0.06, policy) for number in range(100)} == {Verdict.REVIEW}
    applied = apply(policy, purchase(1), {}, 0.01, None, EXPLORING)
    assert not was_explored(applied.policy_reasons)


@given(st.integers(0, 10_000), st.floats(0.0, 1.0))
def test_the_reasons_tell_the_circumstances(number: int, probability: float) -> None:
    policy = policy_with("0.5")
    made = apply(policy, purchase(number), {}, probability, None, EXPLORING)
    again = apply(policy, purchase(number), {}, probability, None, circumstances_of(made.policy_reasons))
    assert again == made


def test_the_propensity_is_the_share_and_a_policy_that_explores_nothing_has_none() -> None:
    policy = policy_with("0.25")
    assert propensity(policy) == 0.25
    with pytest.raises(ValueError, match="explores nothing"):
        propensity(load_policy())
