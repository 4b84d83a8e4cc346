from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime

import httpx
import orjson
import pytest

from services.ingestor.cursor import CursorStore
from services.ingestor.delivery import Delivery
from services.ingestor.intake import Intake
from services.ingestor.live import LiveIngest
from services.ingestor.source import SimtomSource
from services.ingestor.stopping import Stopped
from shared.contracts.transactions import Limits
from shared.kafka.producer import OutgoingRecord
from tests.integration.ingestor.conftest import Rig, terminate, until
from tests.integration.ingestor.recorded_source import RecordedSource, Script
from tests.unit.ingestor import recorded

pytestmark = pytest.mark.integration

LIVE = "simtom/bnpl/live."


def events_of(unique: str, count: int) -> list[bytes]:
    """Live events whose ids no other test has."""
    flat = [{**event, "transaction_id": f"{unique}-{number}"} for number, event in enumerate(
        recorded.flat_events("live-1000")[:count])]  # fmt: skip
    return [b"data: " + orjson.dumps(event) + b"\n\n" for event in flat]


async def ids_on_topic(rig: Rig, unique: str) -> list[str]:
    found = [value["transaction_id"] for value in await rig.transactions(LIVE)]
    return sorted(transaction for transaction in found if transaction.startswith(unique))


async def test_a_stream_cut_in_a_line_leaves_one_letter_and_goes_on_as_another_run(rig: Rig, unique: str) -> None:
    events = events_of(unique, 20)
    scripts = [Script([*events[:10], events[10][:400]], cut=True), Script(events[10:])]
    async with RecordedSource(scripts) as source, rig.ingestor(source.url, "live", "--max-events", "20") as process:
        async with asyncio.timeout(60):
            assert await process.wait() == 0
        assert [request["max_records"] for request in source.requests] == [20, 10]
    transactions = [value for value in await rig.transactions(LIVE) if value["transaction_id"].startswith(unique)]
    assert len(transactions) == 20
    first_run, second_run = sorted({value["source"] for value in transactions})
    assert first_run != second_run
    letters = await rig.letters(first_run)
    assert [(letter["reason"], letter["offset"], letter["value_bytes"]) for letter in letters] == [("syntax", 10, 400)]
    assert (await rig.cursor(first_run))["acknowledged"] == "10"


async def test_an_event_does_not_wait_for_the_next_one(rig: Rig, unique: str) -> None:
    gate = asyncio.Event()
    async with RecordedSource([Script(events_of(unique, 1), gate=gate)]) as source:
        async with rig.ingestor(source.url, "live") as process:

            async def it_is_on_the_topic() -> bool:
                return len(await ids_on_topic(rig, unique)) == 1

            await until(it_is_on_the_topic)
            assert await terminate(process) == 0
        gate.set()


async def test_a_sigterm_in_a_running_stream_ends_it_with_all_acknowledged_events_on_the_topic(
    rig: Rig, unique: str
) -> None:
    script = Script(events_of(unique, 500), endless=True)
    async with RecordedSource([script]) as source, rig.ingestor(source.url, "live") as process:

        async def some_are_on_the_topic() -> bool:
            return len(await ids_on_topic(rig, unique)) > 0

        await until(some_are_on_the_topic)
        assert await terminate(process) == 0
    mine = [value for value in await rig.transactions(LIVE) if value["transaction_id"].startswith(unique)]
    [run] = {value["source"] for value in mine}
    assert int((await rig.cursor(run))["acknowledged"]) <= len(mine)


async def test_while_nothing_is_acknowledged_the_socket_is_left_unread(rig: Rig, unique: str) -> None:
    stop = asyncio.Event()

    class NeverAcknowledged:
        async def send_all(self, records: Sequence[OutgoingRecord]) -> None:
            await asyncio.Event().wait()

    async with RecordedSource([Script(events_of(unique, 200), endless=True)]) as source:
        async with httpx.AsyncClient(base_url=source.url) as client:
            intake = Intake(
                SimtomSource(client, generator="bnpl", batch_lines=100),
                Delivery(NeverAcknowledged(), max_refused_share=0.5),
                scope="profile",
                limits=Limits(),
                now=lambda: datetime.now(UTC),
                stop=stop,
            )
            running = asyncio.create_task(LiveIngest(intake, CursorStore(rig.redis), generator="bnpl").run(200.0, 0))
            async with asyncio.timeout(60):
                await source.unread.wait()
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
        # Sockets hold some megabytes on loopback; an unbounded reader would never have let the source wait.
        assert source.sent < 50_000


async def test_a_stop_is_noticed_while_the_source_says_nothing(rig: Rig) -> None:
    stop, gate = asyncio.Event(), asyncio.Event()

    class Nowhere:
        async def send_all(self, records: Sequence[OutgoingRecord]) -> None:
            raise AssertionError("nothing was to be sent")

    async with RecordedSource([Script([], gate=gate)]) as source, httpx.AsyncClient(base_url=source.url) as client:
        intake = Intake(
            SimtomSource(client, generator="bnpl", batch_lines=100),
            Delivery(Nowhere(), max_refused_share=0.5),
            scope="profile",
            limits=Limits(),
            now=lambda: datetime.now(UTC),
            stop=stop,
        )
        running = asyncio.create_task(LiveIngest(intake, CursorStore(rig.redis), generator="bnpl").run(200.0, 0))

        async def it_is_connected() -> bool:
            return intake.ready() is None

        await until(it_is_connected)
        stop.set()
        async with asyncio.timeout(5):
            with pytest.raises(Stopped):
                await running
        gate.set()


async def test_the_check_names_each_dependency_and_fails_where_one_is_away(rig: Rig) -> None:
    async with RecordedSource([Script([])]) as source, rig.ingestor(source.url, "--check") as process:
        said, _ = await process.communicate()
        assert said.decode().splitlines() == ["kafka: ok", "redis: ok", "source: ok"]
        assert process.returncode == 0
    async with rig.ingestor("http://127.0.0.1:9", "--check") as process:
        said, _ = await process.communicate()
        assert said.decode().splitlines()[2].startswith("source: SourceBroken")
        assert process.returncode == 1
