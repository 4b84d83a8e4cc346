"""How much stricter a candidate is than the champion, on the same customers."""

from __future__ import annotations

import pytest

from services.trainer.promotion.stricter import compared, told
from shared.experiments import Stricter
from shared.policy import load_policy
from shared.policy.backtest import LoggedCase
from tests.unit.trainer.test_backtest import case

POLICY = load_policy()
APPROVED, REVIEWED, DECLINED = 0.001, 0.06, 0.9
"""Probabilities for which the policy says so of a purchase of 100 dollars."""


def cases(*probabilities: float) -> list[LoggedCase]:
    return [case(number, probability=each, customer_id=f"c{number}") for number, each in enumerate(probabilities)]


def test_the_shares_are_of_customers_and_a_review_is_no_approval() -> None:
    champions = cases(APPROVED, APPROVED, APPROVED, DECLINED)
    candidates = cases(DECLINED, REVIEWED, APPROVED, DECLINED)
    assert compared(candidates, champions, POLICY) == Stricter(declined=0.25, not_approved=0.5)


def test_who_is_milder_is_given_nothing() -> None:
    assert compared(cases(APPROVED, REVIEWED), cases(DECLINED, DECLINED), POLICY) == Stricter()


def test_of_each_customer_the_first_purchase_counts() -> None:
    champions = [case(number, probability=APPROVED, customer_id="one") for number in range(5)]
    candidates = [case(number, probability=DECLINED if number else APPROVED, customer_id="one") for number in range(5)]
    assert compared(candidates, champions, POLICY) == Stricter()


def test_a_purchase_that_only_one_could_answer_is_left_out() -> None:
    champions, candidates = cases(APPROVED, APPROVED), cases(DECLINED, APPROVED)
    assert compared(candidates[1:], champions, POLICY) == Stricter()
    assert compared([], champions, POLICY) == Stricter()


@pytest.mark.parametrize(("stricter", "words"), [(Stricter(0.42, 0.5), "42.0% more"), (Stricter(), "0.0% more")])
def test_it_is_told_in_words(stricter: Stricter, words: str) -> None:
    assert words in told(stricter)
