from __future__ import annotations

import asyncio
import re
from typing import Any

import pytest

from services.simulator import wire
from tests.unit.simulator import recordings, streams

IDS = {
    "transaction_id": r"txn_\d{8}",
    "customer_id": r"cust_\d{6}",
    "product_id": r"prod_\d{6}",
    "device_id": r"cust_\d{6}_device_[12]",
    "payment_method_id": r"cust_\d{6}_pm_[123]",
    "_timestamp": r"2026-06-0[1-4]T\d\d:\d\d:\d\d",
}


@pytest.fixture(scope="module")
def ours() -> list[dict[str, Any]]:
    return asyncio.run(streams.history(streams.request(base_daily_volume=3000)))


def orders(events: Any) -> dict[str, set[tuple[str, ...]]]:
    found: dict[str, set[tuple[str, ...]]] = {}
    for event in events:
        found.setdefault(event["risk_scenario"], set()).add(tuple(event))
    return found


@pytest.mark.parametrize("name", [recordings.HISTORY, recordings.LIVE, recordings.OUTLIERS])
def test_framing_a_recorded_event_gives_the_recorded_bytes(name: str) -> None:
    assert [wire.frame(event) for event in recordings.events(name)] == list(recordings.frames(name))


def test_the_fields_stand_in_the_recorded_order_of_each_scenario(ours: list[dict[str, Any]]) -> None:
    assert orders(ours) == orders(recordings.clean())


def test_every_field_has_the_recorded_types(ours: list[dict[str, Any]]) -> None:
    def types(events: Any) -> set[tuple[str, type]]:
        return {(name, type(value)) for event in events for name, value in event.items()}

    assert types(ours) == types(recordings.clean())


def test_ids_and_times_have_the_recorded_formats(ours: list[dict[str, Any]]) -> None:
    for name, pattern in IDS.items():
        assert all(re.fullmatch(pattern, event[name]) for event in ours), name
        assert all(re.fullmatch(pattern, event[name]) for event in recordings.events(recordings.HISTORY)), name


def test_numbers_that_depend_on_each_other_do_so_as_recorded(ours: list[dict[str, Any]]) -> None:
    for event in (*ours, *recordings.clean()):
        amount = event["amount"]
        assert event["product_price"] == amount == round(amount, 2)
        assert event["first_payment_amount"] == round(amount / 4, 2)
        assert event["installment_count"] == 4 or (event["installment_count"] == 6 and amount >= 100)
        dear_enough = event["product_category"] in ("electronics", "clothing", "home") and amount >= 50
        assert event["product_bnpl_eligible"] is dear_enough
        if "credit_utilization" in event:
            assert event["credit_utilization"] in (amount / 500, amount / 1000, amount / 1500)
        assert event["device_id"].startswith(event["customer_id"])
        assert (event["days_to_first_missed_payment"] is not None) is event["will_default"]


def test_a_live_time_carries_microseconds_and_a_whole_second_none() -> None:
    assert wire.timestamp(1_795_418_433_480_116) == "2026-11-23T07:20:33.480116"
    assert wire.timestamp(1_780_272_366_000_000) == "2026-06-01T00:06:06"
