from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.exposure import Reservation, reservation_of
from shared.feature_definitions.state import schedule
from shared.feature_definitions.totals import Purchase
from shared.policy import load_policy
from tests.unit.exposure.contract import CONTRACT, Accounts, reservations
from tests.unit.scorer.fakes import FakeExposures
from tests.unit.scorer.parts import accepted

MICROS_PER_DAY = 86_400_000_000


@pytest.mark.parametrize("promise", CONTRACT, ids=lambda promise: promise.__name__)
async def test_the_fake_keeps_the_contract(promise: Callable[[Accounts], Awaitable[None]]) -> None:
    await promise(FakeExposures())


@given(reservations, st.integers(-10, 4000))
def test_what_is_open_is_what_the_schedule_has_not_asked_for_yet(held: Reservation, later: int) -> None:
    day = held.day + later
    purchase = Purchase(
        t_us=held.day * MICROS_PER_DAY, minor=held.cents, currency="USD", device=0, category=0, method=0,
        instalments=held.instalments, period_days=held.period_days,
    )  # fmt: skip
    assert held.open_on(day) == sum(minor for due, minor in schedule(purchase) if due > day)


@given(reservations)
def test_a_reservation_reads_back(held: Reservation) -> None:
    assert Reservation.parse("event", held.text()) == held


@pytest.mark.parametrize("text", ["", "1 2 3", "1 2 3 4 5", "-1 2 3 4", "1 2 0 4", "1 2 3 0", "a b c d"])
def test_what_is_no_reservation_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        Reservation.parse("event", text)


def test_terms_and_size_come_from_the_purchase() -> None:
    plan = {"count": 6, "frequency": "monthly"}
    held = reservation_of(accepted(amount=1500, currency="JPY", installments=plan).transaction, load_policy())
    assert (held.cents, held.period_days, held.instalments) == (1000, 30, 6)
    assert reservation_of(accepted(amount=67.51).transaction, load_policy()).cents == 6751


def test_a_purchase_that_states_no_terms_has_the_usual_ones() -> None:
    held = reservation_of(accepted().transaction, load_policy())
    assert (held.period_days, held.instalments) == (14, 4)
