"""Two customers' purchases under one event id, of which one is decided (ADR 0052): the other's counts in its customer's
state live, and so it does where the past is made anew."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from services.trainer.past import Past
from services.trainer.quality.frames import Span, warehouse_frames
from services.trainer.reprocess import Reprocessed, Wanted, reprocess
from services.trainer.warehouse import Warehouse
from shared.contracts.identity import from_epoch_micros
from shared.feature_definitions import FEATURE_SET_VERSION
from shared.settings import BigQuerySettings
from shared.warehouse import tables
from shared.warehouse.clients import bigquery_client
from shared.warehouse.columns import Table
from shared.warehouse.schema import ensure_warehouse
from tests import factories

pytestmark = pytest.mark.integration

PROJECT = "flit-one-id-test"
NOW = datetime(2026, 8, 1, tzinfo=UTC)
TAKEN = "event-0"
LATER = {"same partition": "event-2", "another partition": "event-5"}
"""What the two bought next whose first purchase got no decision."""


def place(partition: int, offset: int, at: str) -> dict[str, Any]:
    return {"kafka_topic": "t", "kafka_partition": partition, "kafka_offset": offset, "kafka_timestamp": at}


def bought(number: int, partition: int, offset: int, **changes: Any) -> dict[str, Any]:
    body = factories.transaction(number, **changes)
    kept = ("event_id", "source", "transaction_id", "customer_id", "occurred_at", "currency", "status")
    return {name: body[name] for name in kept} | {"amount": "67.51"} | place(partition, offset, body["occurred_at"])


def decided(purchase: dict[str, Any], seen: int) -> dict[str, Any]:
    same = ("event_id", "transaction_id", "customer_id", "occurred_at")
    when = purchase["occurred_at"]
    return {name: purchase[name] for name in same} | {
        "prediction_timestamp": when, "decision": "approve", "feature_set_version": "0-before", "features": "{}",
        "as_of_transactions": seen, "as_of_outcomes": -1,
        **place(purchase["kafka_partition"], purchase["kafka_offset"], when),
    }  # fmt: skip


def told(purchase: dict[str, Any], *, defaulted: bool) -> dict[str, Any]:
    when = from_epoch_micros(factories.START_US + 60 * factories.DAY_US)
    ids = {name: purchase[name] for name in ("event_id", "customer_id")}
    place_of_it = place(purchase["kafka_partition"], purchase["kafka_offset"], when)
    return ids | {"defaulted": defaulted, "observed_at": when} | place_of_it


@pytest.fixture(scope="module")
def warehouse(bigquery_endpoints: BigQuerySettings) -> Warehouse:
    settings = bigquery_endpoints.model_copy(update={"project": PROJECT})
    ensure_warehouse(settings)
    first = bought(0, 0, 0, customer_id="first")
    beside = bought(1, 0, 1, customer_id="same partition", event_id=TAKEN)
    elsewhere = bought(3, 1, 0, customer_id="another partition", event_id=TAKEN)
    later = bought(2, 0, 2, customer_id="same partition"), bought(5, 1, 1, customer_id="another partition")
    rows: dict[Table, list[dict[str, Any]]] = {
        tables.TRANSACTIONS: [first, beside, elsewhere, *later],
        tables.OUTCOMES: [told(first, defaulted=False), told(elsewhere, defaulted=True)],
        tables.DECISIONS: [decided(first, -1), decided(later[0], 1), decided(later[1], 0)],
    }
    client = bigquery_client(settings)
    for table, of_table in rows.items():
        assert not client.insert_rows_json(f"{PROJECT}.{table.id}", of_table)
    return Warehouse(settings)


def test_what_was_never_decided_is_in_the_past_of_what_its_customer_bought_next(warehouse: Warehouse) -> None:
    past = Past(warehouse)
    wanted = Wanted(FEATURE_SET_VERSION, 0, 2**62, "a-run")
    done = [reprocess(past, partition, wanted, lambda: NOW) for partition in past.partitions()]
    assert done == [Reprocessed(written=2), Reprocessed(written=1)]
    select = f"SELECT event_id, customer_id, TO_JSON_STRING(features) AS features FROM `{PROJECT}.{tables.FEATURES.id}`"
    found = warehouse.rows(select).to_pylist()
    made = {row["event_id"]: (row["customer_id"], json.loads(row["features"])) for row in found}
    assert made[TAKEN][0] == "first", "the other's have none: they would stand for those of the decision"
    assert {event: made[event][1]["purchases_24h"] for event in LATER.values()} == dict.fromkeys(LATER.values(), 1)


def test_each_has_an_outcome_of_its_own_and_the_check_of_the_data_takes_both(warehouse: Warehouse) -> None:
    outcomes = warehouse_frames(warehouse, Span(0, 2**60), FEATURE_SET_VERSION)["outcomes"]
    assert outcomes["event_id"].to_list() == [TAKEN, TAKEN]
    assert sorted(zip(outcomes["home"], outcomes["defaulted"], strict=True)) == [(0, False), (1, True)]
