from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.simulator import law
from services.simulator.bnpl_history import DAY_US, WEEK_US, Account
from services.simulator.hidden import HiddenFile
from tests.unit.simulator import streams

Purchase = tuple[int, float, int, int | None]
"""Microseconds since 1970, USD, instalments, days to the first missed payment."""

PURCHASES = st.lists(
    st.tuples(
        st.integers(0, 200 * DAY_US),
        st.floats(1.0, 400.0),
        st.sampled_from([4, 6]),
        st.sampled_from([None, None, 14, 28, 56, 84]),
    ),
    max_size=40,
).map(lambda purchases: sorted(purchases, key=lambda purchase: purchase[0]))


def past(purchases: list[Purchase], at_us: int) -> tuple[int, int, float, int]:
    """The law's four arguments, straight from their definition."""
    today = at_us // DAY_US
    exposure = sum(
        amount / count for t, amount, count, _ in purchases for k in range(1, count + 1) if t // DAY_US + 14 * k > today
    )
    return (
        sum(at_us - DAY_US < t for t, *_ in purchases),
        sum(at_us - WEEK_US < t for t, *_ in purchases),
        exposure,
        sum(missed is not None and t // DAY_US + missed < today for t, _, _, missed in purchases),
    )


@given(PURCHASES)
def test_an_account_remembers_just_what_the_law_asks_for(purchases: list[Purchase]) -> None:
    account = Account()
    for position, (at_us, amount, count, missed) in enumerate(purchases):
        day, week, exposure, defaults = past(purchases[:position], at_us)
        seen_day, seen_week, seen_exposure, seen_defaults = account.look(at_us)
        assert (seen_day, seen_week, seen_defaults) == (day, week, defaults)
        assert seen_exposure == pytest.approx(exposure, abs=1e-6)
        account.add(amount, count, missed)


async def test_every_hidden_rate_follows_from_the_stream_and_the_published_law(tmp_path: Path) -> None:
    """A recomputation from the events alone: nothing but the law's text goes into it."""
    file = tmp_path / "hidden.jsonl"
    asked = streams.request(end_date="2026-06-30", base_daily_volume=60)
    events = await streams.history(asked, "bnpl_history", hidden=HiddenFile(file))
    hidden = [json.loads(line) for line in file.read_text().splitlines()]
    assert len(hidden) == len(events)
    by_customer: dict[str, list[Purchase]] = {}
    for event, told in zip(events, hidden, strict=True):
        at_us = int(np.datetime64(event["_timestamp"], "us").astype(np.int64))
        purchases = by_customer.setdefault(event["customer_id"], [])
        rate = law.expected_rate_with_history(law.expected_rate(event["risk_score"]), *past(purchases, at_us))
        assert told["expected_rate"] == pytest.approx(rate, rel=1e-9)
        assert told["will_default"] is event["will_default"]
        missed = event["days_to_first_missed_payment"]
        purchases.append((at_us, event["amount"], event["installment_count"], missed))
    assert max(map(len, by_customer.values())) > 10


def test_a_clock_that_steps_back_is_taken_as_standing_still() -> None:
    account = Account()
    account.look(10 * DAY_US)
    account.add(100.0, 4, None)
    assert account.look(9 * DAY_US) == (1, 1, 100.0, 0)


async def test_the_default_rate_is_near_five_percent() -> None:
    events = await streams.history(streams.request(end_date="2026-07-30", base_daily_volume=300), "bnpl_history")
    assert sum(event["will_default"] for event in events) / len(events) == pytest.approx(0.05, abs=0.01)
    assert events[0]["_generator"] == "BNPLHistoryGenerator"
