"""What a customer owes at a moment: kept while a state is in memory, and the same as worked out anew from its bytes."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.feature_definitions import CustomerState
from shared.feature_definitions.state import KEPT_PURCHASES, open_part, schedule
from shared.feature_definitions.totals import Purchase
from tests import factories

START_US, DAY_US = factories.START_US, factories.DAY_US
CURRENCIES = ("USD", "EUR")
steps = st.lists(
    st.tuples(
        st.integers(-3 * DAY_US, 5 * DAY_US),
        st.sampled_from(CURRENCIES),
        st.integers(1, 12),
        st.sampled_from(["weekly", "bi_weekly", "monthly"]),
    ),
    min_size=1,
    max_size=90,
)
"""From the purchase before, which may be the later one; currency and plan."""


@settings(max_examples=60, deadline=None)
@given(steps, st.integers(0, 2 * DAY_US))
def test_what_is_kept_is_what_would_be_worked_out_anew(taken: list[tuple[int, str, int, str]], later_us: int) -> None:
    state, t_us = CustomerState(), START_US
    for number, (step_us, currency, count, frequency) in enumerate(taken):
        t_us += step_us
        terms = {"count": count, "frequency": frequency}
        state.add_purchase(factories.accepted(number, t_us=t_us, currency=currency, installments=terms))
        fresh = CustomerState.decode(state.encode())
        for asked_us in (t_us + later_us, t_us, t_us + later_us):
            for asked in CURRENCIES:
                if state.can_answer(asked_us):
                    assert state.open_exposure(asked_us, asked) == fresh.open_exposure(asked_us, asked)


def test_it_is_asked_of_many_purchases_without_going_through_them() -> None:
    """Once a day and currency, whatever is bought and folded meanwhile."""
    state = CustomerState()
    for number in range(3 * KEPT_PURCHASES):
        state.add_purchase(factories.accepted(number, t_us=START_US + number))
        assert state.open_exposure(START_US + number, "USD") == 6751 * (number + 1)
        state.purchases[0] = state.purchases[0]._replace(minor=10**9)  # what would be seen by who goes through them
    assert state.open_exposure(START_US + DAY_US, "USD") > 10**9


@pytest.mark.parametrize("count", [1, 3, 4])
def test_the_open_part_is_what_the_schedule_has_on_later_days(count: int) -> None:
    purchase = Purchase(START_US, 10_001, "USD", 0, 0, 0, count, 7)
    bought = START_US // DAY_US
    for day in range(bought - 3, bought + 7 * count + 3):
        assert open_part(purchase, day) == sum(minor for due, minor in schedule(purchase) if due > day)
