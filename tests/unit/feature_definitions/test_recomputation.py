"""The tiles against a naive recomputation: two ways to the same numbers, over histories of every shape."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.ledger import recompute
from shared.contracts.events import Outcome
from shared.contracts.identity import from_epoch_micros
from shared.contracts.transactions import AcceptedTransaction, Door, Limits, decode_transaction
from shared.feature_definitions import FEATURE_NAMES, CustomerState, Sighting, features_of

START = 1_780_000_000_000_000
"""Some day in 2026, microseconds since 1970."""

GAPS = st.one_of(
    st.integers(0, 3),
    st.integers(0, 3_600_000_000),
    st.integers(0, 40 * 86_400_000_000),
    st.integers(-3 * 86_400_000_000, 0),
    st.integers(-40 * 86_400_000_000, 0),
    st.sampled_from([60_000_000, 900_000_000, 3_600_000_000, 86_400_000_000, -60_000_000]),
)


def _accept(number: int, t_us: int, draw: dict[str, Any]) -> AcceptedTransaction:
    body = {
        "transaction_id": f"t{number}",
        "customer_id": "c",
        "occurred_at": from_epoch_micros(t_us),
        "amount": draw["cents"] / 100,
        "currency": draw["currency"],
        "installments": {"count": draw["count"], "frequency": draw["frequency"]} if draw["count"] else None,
        "device": {"id": draw["device"]} if draw["device"] else None,
        "product": {"category": draw["category"]},
        "payment": {"method_id": draw["method"]},
    }
    return decode_transaction(
        json.dumps(body).encode(),
        door=Door.TOPIC,
        received_us=START + 600 * 86_400_000_000,
        limits=Limits(max_amount=1e9),
    )


PURCHASES = st.fixed_dictionaries(
    {
        "gap": GAPS,
        "cents": st.integers(0, 50_000),
        "currency": st.sampled_from(["USD", "USD", "USD", "EUR"]),
        "count": st.sampled_from([None, 1, 4, 6, 7]),
        "frequency": st.sampled_from(["weekly", "bi_weekly", "monthly", "hourly", None]),
        "device": st.sampled_from([None, *(f"d{i}" for i in range(40))]),
        "category": st.sampled_from([None, "home", "beauty", "toys"]),
        "method": st.sampled_from([None, "m1", "m2"]),
        "outcome": st.sampled_from(["none", "good", "bad", "corrected", "repeated"]),
        "observed_in_days": st.integers(0, 90),
    }
)


@given(st.lists(PURCHASES, min_size=1, max_size=40))
@settings(max_examples=60, deadline=None)
def test_features_equal_a_naive_recomputation_whatever_the_order_of_events(draws: list[dict[str, Any]]) -> None:
    _walk(draws)


@pytest.mark.parametrize("seed", range(12))
def test_features_equal_a_naive_recomputation_for_customers_with_many_purchases(seed: int) -> None:
    dice = random.Random(seed)
    late = [0.02, 0.3, 0.5][seed % 3]
    _walk(
        [
            {
                "gap": dice.choice([-1, -40, -2000]) * dice.randrange(60_000_000)
                if dice.random() < late
                else dice.randrange([10**8, 10**9, 10**10, 10**11][seed % 4]),
                "cents": dice.randrange(50_000),
                "currency": dice.choice(["USD", "USD", "EUR"]),
                "count": dice.choice([None, 4, 6]),
                "frequency": "bi_weekly",
                "device": f"d{dice.randrange(60)}",
                "category": dice.choice(["home", "beauty"]),
                "method": dice.choice(["m1", "m2"]),
                "outcome": dice.choice(["none", "good", "bad", "corrected"]),
                "observed_in_days": dice.randrange(90),
            }
            for _ in range(180)
        ]
    )


def test_features_equal_a_naive_recomputation_at_the_highest_amounts_there_are() -> None:
    """A billion each, in a currency of three decimals: sums of squares beyond 64 bits, once purchases are folded."""
    plain = {"count": 4, "frequency": "monthly", "device": None, "category": None, "method": None}
    _walk(
        [
            plain | {"gap": 10**10, "cents": 99_999_999_900 + number, "currency": "KWD", "outcome": "none",
                     "observed_in_days": 0}
            for number in range(60)
        ]
    )  # fmt: skip


def _walk(draws: list[dict[str, Any]]) -> None:
    """Log the purchases one by one; before each, compare the served features with the naive ones."""
    state = CustomerState()
    bought: list[recompute.Buy] = []
    outcomes: list[recompute.Known] = []
    now = START
    for number, draw in enumerate(draws):
        now = max(START - 10**14, now + draw["gap"])
        accepted = _accept(number, now, draw)
        served = features_of(state, accepted)
        body = json.loads(json.dumps(_plain(accepted)))
        naive = recompute.features(recompute.subject_of(body, now), bought, outcomes)
        assert list(served) == list(FEATURE_NAMES)
        assert recompute.differences(served, naive) == []
        state.add_purchase(accepted)
        assert state.sighting(accepted.transaction.event_id, accepted.fingerprint) is Sighting.DUPLICATE
        bought.append(recompute.buy_of(number, now, _plain(accepted), accepted.transaction.event_id))
        _settle(state, outcomes, accepted, draw)
        if number % 3 == 0:  # as between two batches; in between, what was made of it stays in memory
            state = CustomerState.decode(state.encode())


def _settle(
    state: CustomerState, outcomes: list[recompute.Known], accepted: AcceptedTransaction, draw: dict[str, Any]
) -> None:
    """Log the purchase's outcome, perhaps corrected or repeated."""
    verdicts = {"none": [], "good": [False], "bad": [True], "corrected": [False, True], "repeated": [True, True]}
    for i, defaulted in enumerate(verdicts[draw["outcome"]]):
        shift = i if draw["outcome"] == "corrected" else 0
        observed = accepted.occurred_us + (draw["observed_in_days"] + shift) * 86_400_000_000
        outcome = Outcome(
            event_id=accepted.transaction.event_id,
            customer_id="c",
            defaulted=defaulted,
            days_to_first_missed_payment=None,
            observed_at=from_epoch_micros(observed),
        )
        state.add_outcome(outcome, observed)
        outcomes.append(recompute.Known(len(outcomes), outcome.event_id, observed // 86_400_000_000, defaulted))


def _plain(accepted: AcceptedTransaction) -> dict[str, Any]:
    plain: dict[str, Any] = json.loads(json.dumps(accepted.document))
    return plain
