from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from services.scorer.customers import Customers
from services.scorer.guard import PartitionGuard
from shared.feature_definitions import FEATURE_SET_VERSION, FEATURES, CustomerState, Feature, features_of
from shared.feature_state import Position
from tests.unit.scorer.fakes import FakeStates
from tests.unit.scorer.parts import NOW, accepted
from tests.unit.scorer.rest import Asked, assert_problem, client_of

LATER = datetime.fromisoformat(NOW).astimezone(UTC) + timedelta(minutes=1)


class Partitions:
    async def check_partitions(self, count: int) -> None:
        return None


def known(*amounts: float) -> FakeStates:
    state = CustomerState()
    for number, amount in enumerate(amounts, 1):
        state.add_purchase(accepted(1, transaction_id=f"txn_{number}", amount=amount, currency="EUR"))
    return FakeStates({"cust_000001": state.encode()}, Position(7, 3))


def customers(states: FakeStates) -> Customers:
    return Customers(states, PartitionGuard(Partitions(), 4).confirm, partitions=4, clock=lambda: LATER)


async def ask(states: FakeStates, customer_id: str = "cust_000001"):  # type: ignore[no-untyped-def]
    async with client_of(Asked(), customers=customers(states)) as client:
        return await client.get(f"/v1/customers/{customer_id}/features")


async def test_they_are_those_that_a_purchase_of_this_moment_would_find() -> None:
    states = known(20.0, 30.0)
    told = (await ask(states)).json()
    assert (told["customer_id"], told["currency"]) == ("cust_000001", "EUR")
    assert told["feature_set_version"] == FEATURE_SET_VERSION
    assert told["as_of"] == {"transactions": 7, "outcomes": 3}
    state = CustomerState.decode(states.states["cust_000001"])
    purchase = accepted(1, currency="EUR", occurred_at=LATER.isoformat())
    expected = features_of(state, purchase)
    rolling = {feature.name for feature in FEATURES if feature.rolling}
    assert told["features"].keys() == rolling
    assert told["features"] == {name: expected[name] for name in rolling} | {"amount_to_mean_30d": None}
    assert told["features"]["purchases_24h"] == 2.0
    assert told["features"]["amount_sum_24h"] == 50.0


def test_only_what_compares_needs_a_purchase() -> None:
    """A feature that reads the purchase's amount and doesn't say so would be told as of a purchase of nothing."""
    state = CustomerState()
    state.add_purchase(accepted(1))
    small, large = (accepted(2, customer_id="cust_000001", amount=amount) for amount in (1.0, 500.0))

    def differs(feature: Feature) -> bool:
        return features_of(state, small)[feature.name] != features_of(state, large)[feature.name]

    assert {feature.name for feature in FEATURES if feature.rolling and differs(feature)} == {
        feature.name for feature in FEATURES if feature.compares
    }


async def test_a_customer_without_purchases_is_not_found() -> None:
    assert_problem(await ask(known(1.0), "somebody"), 404, "not-found")


async def test_while_states_are_rebuilt_nothing_is_told() -> None:
    states = known(1.0)
    states.position = None
    assert_problem(await ask(states), 503, "rebuilding")


async def test_without_redis_nothing_is_told() -> None:
    assert_problem(await ask(FakeStates(away=True)), 503, "state-unavailable")


@pytest.mark.parametrize("customer_id", ["%00", "x" * 129])
async def test_what_is_no_id_is_refused(customer_id: str) -> None:
    assert (await ask(known(1.0), customer_id)).status_code == 422
