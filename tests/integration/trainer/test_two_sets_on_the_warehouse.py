"""Purchases that were decided on features of two sets, some of them made anew in the other: whom two models can be
asked about, and what a window of features is made of."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from services.trainer.promotion.customers import MOST_CUSTOMERS, asked
from services.trainer.warehouse import Warehouse
from shared.settings import BigQuerySettings
from shared.warehouse import tables
from shared.warehouse.clients import bigquery_client
from shared.warehouse.columns import Table
from shared.warehouse.schema import ensure_warehouse
from tests import factories
from tests.integration.trainer.test_purchases_under_one_id import place

pytestmark = pytest.mark.integration

PROJECT = "flit-two-sets-test"
OLD, NEW = "0-before", "1-after"
SINCE_US, UNTIL_US = factories.START_US, factories.START_US + factories.DAY_US

PURCHASES: list[tuple[str, str | None, str | None, str | None]] = [
    # Whose, the set that it was decided on (None: loaded in bulk), the set that it was made anew in, why a fallback.
    ("twice", OLD, None, None),
    ("twice", OLD, NEW, None),
    ("twice", NEW, OLD, None),
    ("once", OLD, NEW, None),
    ("no model", OLD, NEW, "no_model"),
    ("no past", OLD, NEW, "rebuilding"),
    ("one set", NEW, None, None),
    ("loaded", None, NEW, None),
]


def value(number: int, name: str) -> float:
    return number + (0.5 if name == NEW else 0.0)


def rows() -> dict[Table, list[dict[str, Any]]]:
    found: dict[Table, list[dict[str, Any]]] = {
        tables.TRANSACTIONS: [], tables.DECISIONS: [], tables.FEATURES: [],
    }  # fmt: skip
    for number, (customer, decided_on, made_in, degraded) in enumerate(PURCHASES):
        body = factories.transaction(number, customer_id=customer)
        when = body["occurred_at"]
        ids = {name: body[name] for name in ("event_id", "customer_id", "occurred_at")}
        kept = {name: body[name] for name in ("source", "transaction_id", "currency", "status")}
        came = {"load_id": "day", "kafka_timestamp": when} if decided_on is None else place(0, number, when)
        found[tables.TRANSACTIONS].append(ids | kept | came | {"amount": "67.51"})
        if decided_on is not None:
            found[tables.DECISIONS].append(
                ids
                | came
                | {
                    "prediction_timestamp": when, "decision": "approve", "degraded": degraded,
                    "feature_set_version": decided_on, "features": json.dumps({"x": value(number, decided_on)}),
                }
            )  # fmt: skip
        if made_in is not None:
            found[tables.FEATURES].append(
                ids
                | {
                    "load_id": "day" if decided_on is None else "a-run", "feature_set_version": made_in,
                    "features": json.dumps({"x": value(number, made_in)}), "computed_at": when,
                    "kafka_timestamp": when,
                }
            )  # fmt: skip
    return found


@pytest.fixture(scope="module")
def warehouse(bigquery_endpoints: BigQuerySettings) -> Warehouse:
    settings = bigquery_endpoints.model_copy(update={"project": PROJECT})
    ensure_warehouse(settings)
    client = bigquery_client(settings)
    for table, of_table in rows().items():
        assert not client.insert_rows_json(f"{PROJECT}.{table.id}", of_table)
    return Warehouse(settings)


def first_of(warehouse: Warehouse, *sets: str, most: int = MOST_CUSTOMERS) -> dict[str, tuple[str, dict[str, Any]]]:
    found = [each for some in asked(warehouse, SINCE_US, UNTIL_US, sets, most) for each in some]
    by_customer = {each.transaction.customer_id: (each.transaction.event_id, dict(each.features)) for each in found}
    assert len(by_customer) == len(found), "one purchase of each"
    return by_customer


def test_each_customer_is_asked_about_by_the_first_purchase_that_both_sets_have(warehouse: Warehouse) -> None:
    def both(number: int) -> tuple[str, dict[str, Any]]:
        return f"event-{number}", {name: {"x": value(number, name)} for name in (OLD, NEW)}

    assert first_of(warehouse, OLD, NEW) == {"twice": both(1), "once": both(3), "no model": both(4)}


def test_models_of_one_set_are_asked_about_all_that_has_it(warehouse: Warehouse) -> None:
    found = first_of(warehouse, NEW)
    assert {customer: event for customer, (event, _) in found.items()} == {
        "twice": "event-1", "once": "event-3", "no model": "event-4", "one set": "event-6",
    }  # fmt: skip


def test_a_draw_is_of_so_many_customers_and_always_of_the_same(warehouse: Warehouse) -> None:
    drawn = first_of(warehouse, OLD, NEW, most=2)
    assert len(drawn) == 2
    assert first_of(warehouse, OLD, NEW, most=2) == drawn


def test_what_was_made_anew_is_part_of_a_window_of_its_set(warehouse: Warehouse) -> None:
    """After a change of the set nothing was decided on it yet: there would be no window to compare."""

    def window(without: tuple[tuple[int, int], ...] = ()) -> list[float]:
        found = warehouse.features_between(SINCE_US, UNTIL_US, ("x",), NEW, without)
        assert found.dtype == np.float32
        return sorted(found[:, 0].tolist())

    numbers = [n for n, (_, decided_on, made_in, _) in enumerate(PURCHASES) if NEW in (decided_on, made_in)]
    assert window() == [value(n, NEW) for n in numbers]
    at_us = [factories.START_US + n * 60 * factories.SECOND_US for n in range(len(PURCHASES))]
    assert window(((at_us[1], at_us[3]),)) == [value(n, NEW) for n in numbers if n not in (1, 2)]
