"""Rows of archived days: those of the same records from Kafka, but for where they come from."""

from __future__ import annotations

import json
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import msgspec
import pytest
from google.cloud import bigquery

from services.sink.load import (
    LOADABLE,
    PLACES,
    LoadRefused,
    _refuse_another_system,
    _refuse_featured_people,
    load,
    loaded_rows,
)
from services.sink.pipeline import Rules, rows_of
from shared.archive import ArchivedRecord, Day, RunArchive, days_of
from shared.contracts import topics
from shared.contracts.identity import partition_of
from shared.contracts.pseudonyms import Pseudonyms
from shared.contracts.transactions import Limits
from shared.settings import BigQuerySettings
from shared.warehouse import tables
from tests.factories import DAY_US, START_US, outcome, transaction_bytes
from tests.unit.sink.records import LATER_MS, PARTITIONS, letter_bytes, record

NAMED = Rules(PARTITIONS, Limits(), Pseudonyms(b"k" * 32))
PLAIN = Rules(PARTITIONS, Limits())


def day_of(folder: Path, *values: tuple[topics.Topic, str | None, bytes]) -> Day:
    run = RunArchive(folder, "simtom/bnpl/2026-06-01.7")
    run.add([ArchivedRecord(topic.name, LATER_MS, key, [], msgspec.Raw(value)) for topic, key, value in values])
    run.seal("2026-06-01", {})
    return days_of(run.folder)[0]


def purchases(count: int) -> list[tuple[topics.Topic, str | None, bytes]]:
    made: list[tuple[topics.Topic, str | None, bytes]] = []
    for number in range(count):
        customer = f"cust_{number}"
        known = outcome(number, defaulted=number % 2 == 0, observed_us=START_US + 56 * DAY_US, customer_id=customer)
        made.append((topics.TRANSACTIONS, customer, transaction_bytes(number, customer_id=customer)))
        made.append((topics.OUTCOMES, customer, json.dumps(known).encode()))
    return made


@pytest.mark.parametrize("rules", [PLAIN, NAMED], ids=["plain", "pseudonyms"])
def test_rows_differ_from_those_of_the_stream_in_their_place_alone(tmp_path: Path, rules: Rules) -> None:
    values = purchases(6)
    loaded = loaded_rows(day_of(tmp_path, *values), rules)
    for table in (tables.RAW_TRANSACTIONS, tables.TRANSACTIONS, tables.OUTCOMES):
        expected = [
            row
            for topic, key, value in values
            for of, row in (rows_of(record(topic, value, key=key), rules) if topic.name == table.topic else ())
            if of is table
        ]
        apart = {*PLACES, "load_id", "load_partition", "load_row"}
        assert [without(row, apart) for row in loaded[table]] == [without(row, apart) for row in expected]
        assert {row["load_id"] for row in loaded[table]} == {"simtom/bnpl/2026-06-01.7#2026-06-01"}


def without(row: dict[str, object], names: set[str]) -> dict[str, object]:
    return {name: value for name, value in row.items() if name not in names}


def test_purchases_and_outcomes_keep_their_order_and_whose_state_they_are_in(tmp_path: Path) -> None:
    loaded = loaded_rows(day_of(tmp_path, *purchases(6)), NAMED)
    assert [row["load_row"] for row in loaded[tables.TRANSACTIONS]] == list(range(0, 12, 2))
    assert [row["load_row"] for row in loaded[tables.OUTCOMES]] == list(range(1, 12, 2))
    # By the id on the wire, not by the pseudonym: a checkout asks for the partition of that one.
    expected = [partition_of(f"cust_{number}".encode(), PARTITIONS) for number in range(6)]
    assert [row["load_partition"] for row in loaded[tables.TRANSACTIONS]] == expected
    for table in LOADABLE:
        for row in loaded[table]:
            table.check(row)


def test_a_folder_without_a_run_is_no_archive(tmp_path: Path) -> None:
    with pytest.raises(LoadRefused, match="no run of days"):
        load(BigQuerySettings(), PLAIN, tmp_path, processes=1, stop=lambda: False, done=lambda *_: None)


class Held:
    """A warehouse that has these people."""

    project = "flit"

    def __init__(self, *, pseudonyms: bool | None, names: bool | None, partition: int | None) -> None:
        self._found = SimpleNamespace(pseudonyms=pseudonyms, names=names, highest_partition=partition)

    def query(self, sql: str, **_: Any) -> Any:
        return SimpleNamespace(result=lambda **_: [self._found])


@pytest.mark.parametrize(
    ("held", "rules", "refused"),
    [
        (Held(pseudonyms=None, names=None, partition=None), NAMED, ""),
        (Held(pseudonyms=False, names=True, partition=1), PLAIN, ""),
        (Held(pseudonyms=True, names=False, partition=1), NAMED, ""),
        (Held(pseudonyms=True, names=False, partition=1), PLAIN, "has pseudonyms"),
        (Held(pseudonyms=False, names=True, partition=1), NAMED, "ids as they come"),
        (Held(pseudonyms=False, names=True, partition=PARTITIONS), PLAIN, f"of partition {PARTITIONS}"),
    ],
)
def test_people_of_another_system_are_not_added_to(held: Held, rules: Rules, refused: str) -> None:
    client = cast(bigquery.Client, held)
    if not refused:
        _refuse_another_system(client, rules)
        return
    with pytest.raises(LoadRefused, match=refused):
        _refuse_another_system(client, rules)


@pytest.mark.parametrize("found", [[SimpleNamespace(customer_id="cust_1")], []])
def test_a_day_that_later_features_lack_is_not_slipped_in_beneath_them(tmp_path: Path, found: list[Any]) -> None:
    asked: list[str] = []

    def query(sql: str, **_: Any) -> Any:
        asked.append(sql)
        return SimpleNamespace(result=lambda **_: found)

    client = cast(bigquery.Client, SimpleNamespace(project="flit", query=query))
    day = day_of(tmp_path, *purchases(2))
    rows = loaded_rows(day, PLAIN)[tables.TRANSACTIONS]
    with pytest.raises(LoadRefused, match="features were made without it") if found else nullcontext():
        _refuse_featured_people(client, day, rows, START_US)
    assert f"occurred_at > TIMESTAMP_MICROS({START_US})" in asked[0]


def test_a_letter_is_loaded_too(tmp_path: Path) -> None:
    loaded = loaded_rows(day_of(tmp_path, (topics.DEAD_LETTERS, None, letter_bytes())), PLAIN)
    assert len(loaded[tables.DEAD_LETTERS]) == 1


def test_a_record_that_the_sink_would_refuse_refuses_the_day(tmp_path: Path) -> None:
    day = day_of(tmp_path, (topics.TRANSACTIONS, "cust_0", transaction_bytes(0, customer_id="cust_0", amount=-1.0)))
    with pytest.raises(LoadRefused, match="record 0: range amount"):
        loaded_rows(day, PLAIN)
