from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from services.simulator.hidden import HiddenFile
from services.simulator.worlds import GENERATORS, Worlds
from tests.unit.simulator import streams

GENERATOR = pytest.mark.parametrize("generator", list(GENERATORS))


@GENERATOR
async def test_the_same_seed_gives_the_same_bytes(generator: str) -> None:
    one = await streams.body(streams.request(), generator)
    assert one == await streams.body(streams.request(), generator)
    assert one != await streams.body(streams.request(seed=8), generator)


async def test_two_streams_at_once_do_not_disturb_each_other() -> None:
    asked = streams.request()
    assert asked.days is not None
    alone = await streams.body(asked)
    one, other = (streams.open_stream(asked).history(*asked.days) for _ in range(2))
    both = [(await anext(one), await anext(other)) for _ in alone]
    assert [chunk for chunk, _ in both] == [chunk for _, chunk in both] == alone


async def test_the_same_request_gives_the_same_bytes_on_another_day() -> None:
    later = streams.TODAY + timedelta(days=40)
    assert await streams.body(streams.request()) == await streams.body(streams.request(), today=later)


async def test_a_seed_of_zero_is_none() -> None:
    assert await streams.body(streams.request(seed=0)) != await streams.body(streams.request(seed=0))


async def test_ids_start_at_zero_on_every_stream() -> None:
    worlds = Worlds("continued")
    for _ in range(2):
        events = await streams.history(streams.request(seed=None), worlds=worlds)
        assert [event["_record_id"] for event in events] == list(range(len(events)))
        assert [event["transaction_id"] for event in events[:2]] == ["txn_00000000", "txn_00000001"]
        assert events[0]["customer_id"] == "cust_000001"


async def test_a_stream_ends_at_its_most_records_within_a_day() -> None:
    whole = await streams.body(streams.request())
    assert await streams.body(streams.request(max_records=123)) == whole[:123]
    assert await streams.body(streams.request(max_records=10**6)) == whole


async def test_a_longer_range_begins_with_the_same_days() -> None:
    short, long = [await streams.body(streams.request(end_date=end)) for end in ("2026-06-02", "2026-06-05")]
    assert long[: len(short)] == short


async def test_the_rate_means_nothing_in_history() -> None:
    assert await streams.body(streams.request(rate_per_second=0.01)) == await streams.body(streams.request())


@GENERATOR
async def test_the_hidden_file_tells_of_every_event_and_the_stream_does_not(generator: str, tmp_path: Path) -> None:
    file = tmp_path / "hidden.jsonl"
    asked = streams.request(max_records=400, noise_type="outliers")
    events = await streams.history(asked, generator, hidden=HiddenFile(file))
    told = [json.loads(line) for line in file.read_text().splitlines()]
    for field, same in (
        ("transaction_id", "transaction_id"), ("customer_id", "customer_id"), ("timestamp", "_timestamp")
    ):  # fmt: skip
        assert [line[field] for line in told] == [event[same] for event in events]
    assert {line["will_default"] for line in told} == {True, False}, "labels before the noise"
    first: dict[str, Any] = told[0]
    assert (first["generator"], first["mode"], first["start_date"], first["seed"]) == (
        generator, "history", "2026-06-01", 7
    )  # fmt: skip
    assert all(0 < line["expected_rate"] < 1 and 0 < line["probability"] < 1 for line in told)
    assert not {"expected_rate", "probability"} & set().union(*events)


async def test_a_hidden_file_changes_nothing_in_the_stream(tmp_path: Path) -> None:
    hidden = HiddenFile(tmp_path / "hidden.jsonl")
    assert await streams.body(streams.request(), hidden=hidden) == await streams.body(streams.request())


async def test_the_labels_are_tosses_of_the_hidden_probabilities(tmp_path: Path) -> None:
    file = tmp_path / "hidden.jsonl"
    await streams.body(streams.request(base_daily_volume=10_000), hidden=HiddenFile(file))
    told = [json.loads(line) for line in file.read_text().splitlines()]
    expected = sum(line["probability"] for line in told)
    deviation = sum(line["probability"] * (1 - line["probability"]) for line in told) ** 0.5
    assert abs(sum(line["will_default"] for line in told) - expected) < 3 * deviation
