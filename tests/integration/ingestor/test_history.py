from __future__ import annotations

import asyncio
from collections import Counter

import pytest

from shared.contracts.headers import header
from shared.contracts.identity import partition_of
from shared.contracts.records import decode_outcome
from shared.contracts.transactions import Door, decode_transaction
from tests.integration.ingestor.conftest import ANY_TIME, Rig, until
from tests.integration.ingestor.recorded_source import RecordedSource, Script
from tests.unit.ingestor import recorded

pytestmark = pytest.mark.integration

EVENTS = [line.raw + b"\n\n" for line in recorded.lines("history-4-days")[::6]]
"""Every sixth event of four days: 803, of which 220 and 217 belong to the first two."""
TWO_DAYS = 220 + 217
INTO_THE_THIRD_DAY = 500


async def test_a_history_stands_whole_on_the_topics_as_its_readers_want_it(rig: Rig) -> None:
    async with RecordedSource([Script(EVENTS)]) as source:
        assert await rig.run_history(source.url) == 0
    transactions = {}
    for record in await rig.records("bnpl-transactions"):
        if header(record.headers, "ce_source") == rig.history_source:
            received_us = record.timestamp * 1000
            accepted = decode_transaction(record.value, door=Door.TOPIC, received_us=received_us, limits=ANY_TIME)
            assert record.key == accepted.transaction.customer_id.encode()
            assert record.partition == partition_of(record.key, rig.kafka.partitions)
            assert header(record.headers, "ce_id") == accepted.transaction.event_id
            transactions[accepted.transaction.event_id] = accepted.transaction
    outcomes = [
        decode_outcome(record.value).outcome
        for record in await rig.records("bnpl-outcomes")
        if header(record.headers, "ce_source") == rig.history_source
    ]
    assert len(transactions) == len(outcomes) == len(EVENTS)
    assert {outcome.event_id: outcome.customer_id for outcome in outcomes} == {
        event_id: transaction.customer_id for event_id, transaction in transactions.items()
    }
    cursor = await rig.cursor(rig.history_source)
    assert (cursor["completed_day"], cursor["acknowledged"]) == ("2026-06-04", str(len(EVENTS)))


async def test_a_run_killed_in_the_middle_of_a_day_is_resumed_and_nothing_is_missing(rig: Rig) -> None:
    gate = asyncio.Event()
    first = Script(EVENTS[:INTO_THE_THIRD_DAY], gate=gate)
    async with RecordedSource([first, Script(EVENTS)]) as source:
        async with rig.ingestor(source.url, *rig.history_arguments()) as process:

            async def all_that_came_is_acknowledged() -> bool:
                cursor = await rig.cursor(rig.history_source)
                return cursor.get("acknowledged") == str(INTO_THE_THIRD_DAY)

            await until(all_that_came_is_acknowledged)
            process.kill()
            await process.wait()
        assert (await rig.cursor(rig.history_source))["completed_day"] == "2026-06-02"
        assert await rig.run_history(source.url) == 0
        gate.set()
        assert source.requests[0] == source.requests[1]
    ids = Counter(value["event_id"] for value in await rig.transactions(rig.history_source))
    assert len(ids) == len(EVENTS)
    assert sum(ids.values()) == len(EVENTS) + INTO_THE_THIRD_DAY - TWO_DAYS
    cursor = await rig.cursor(rig.history_source)
    assert (cursor["completed_day"], cursor["acknowledged"]) == ("2026-06-04", str(len(EVENTS)))


async def test_a_finished_range_asks_for_nothing_unless_it_is_to_come_once_more(rig: Rig) -> None:
    async with RecordedSource([Script(EVENTS)]) as source:
        assert await rig.run_history(source.url) == 0
        assert await rig.run_history(source.url) == 0
        assert len(source.requests) == 1
        assert len(await rig.transactions(rig.history_source)) == len(EVENTS)
        first_read = (await rig.cursor(rig.history_source))["server_day"]
        assert await rig.run_history(source.url, "--again") == 0
        assert len(source.requests) == 2
    cursor = await rig.cursor(rig.history_source)
    assert (cursor["acknowledged"], cursor["server_day"]) == (str(len(EVENTS)), first_read)
    once = await rig.transactions(rig.history_source)
    assert set(Counter(value["event_id"] for value in once).values()) == {1}


async def test_a_reading_whose_cursor_is_lost_doubles_nothing(rig: Rig) -> None:
    async with RecordedSource([Script(EVENTS), Script(EVENTS)]) as source:
        assert await rig.run_history(source.url) == 0
        await rig.lose_cursor(rig.history_source)
        assert await rig.run_history(source.url) == 0
    once = await rig.transactions(rig.history_source)
    assert len(once) == len(EVENTS)
    assert set(Counter(value["event_id"] for value in once).values()) == {1}


async def test_other_events_under_the_same_run_end_the_process_before_they_mix(rig: Rig) -> None:
    gate = asyncio.Event()
    async with RecordedSource([Script(EVENTS[:INTO_THE_THIRD_DAY], gate=gate), Script(EVENTS[7:])]) as source:
        async with rig.ingestor(source.url, *rig.history_arguments()) as process:

            async def two_days_are_complete() -> bool:
                return (await rig.cursor(rig.history_source)).get("completed_day") == "2026-06-02"

            await until(two_days_are_complete)
            process.kill()
            await process.wait()
        before = len(await rig.transactions(rig.history_source))
        assert await rig.run_history(source.url) == 1
        gate.set()
    assert len(await rig.transactions(rig.history_source)) == before
