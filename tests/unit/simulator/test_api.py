"""The application in this process, its clock in our hands."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import httpx
import numpy as np
import pytest

from services.simulator.api import create_app
from services.simulator.bnpl import Bnpl
from services.simulator.request import RegimeChange, StreamRequest
from services.simulator.settings import SimulatorSection
from services.simulator.worlds import Worlds
from tests.unit.simulator import streams

HISTORY = {"start_date": "2026-06-01", "end_date": "2026-06-03", "base_daily_volume": 200, "seed": 7}
LIVE = {"rate_per_second": 1000.0, "max_records": 60}


@dataclass
class Server:
    client: httpx.AsyncClient
    now: datetime = streams.TODAY

    async def events(self, body: dict[str, Any], generator: str = "bnpl") -> list[dict[str, Any]]:
        answer = await self.client.post(f"/stream/{generator}", json=body)
        assert answer.status_code == 200, answer.text
        return streams.parse([frame for frame in answer.content.split(b"\n\n") if frame])


@pytest.fixture(params=["continued"])
async def server(request: pytest.FixtureRequest) -> AsyncIterator[Server]:
    section = SimulatorSection(history_day_pause_seconds=0.0, continuity=request.param)
    async with httpx.AsyncClient(base_url="http://simulator") as nobody:
        running = Server(nobody)
        app = create_app(section, lambda: running.now)
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://simulator") as client:
            running.client = client
            yield running


def people(events: list[dict[str, Any]]) -> dict[str, tuple[Any, ...]]:
    """What identifies a person, tenure apart."""
    fields = ("customer_age_bracket", "customer_income_bracket", "customer_credit_score_range", "customer_state")
    return {event["customer_id"]: tuple(event[field] for field in fields) for event in events}


def tenures(events: list[dict[str, Any]]) -> dict[str, int]:
    return {event["customer_id"]: event["customer_tenure_days"] for event in events}


async def test_a_change_of_the_world_that_the_server_was_set_to_comes_unasked() -> None:
    regime = [RegimeChange.model_validate({"at": "2026-06-02T00:00:00", "kind": "attributes", "strength": 1.0})]
    app = create_app(SimulatorSection(history_day_pause_seconds=0.0, regime=regime), lambda: streams.TODAY)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://simulator") as client:
        events = await Server(client).events(HISTORY)
    changed = {e["product_category"] == "electronics" for e in events if e["_timestamp"] >= "2026-06-02"}
    before = {e["product_category"] == "electronics" for e in events if e["_timestamp"] < "2026-06-02"}
    assert changed == {True} and before == {True, False}


FRESH = pytest.mark.parametrize("server", ["fresh"], indirect=True)


async def test_health_and_generators_answer(server: Server) -> None:
    assert (await server.client.get("/")).json()["status"] == "healthy"
    assert (await server.client.get("/generators")).json() == {"generators": ["bnpl", "bnpl_history"]}


async def test_a_stream_is_plain_text(server: Server) -> None:
    answer = await server.client.post("/stream/bnpl", json=HISTORY)
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    assert answer.content.startswith(b'data: {"transaction_id": "txn_00000000", "customer_id": "cust_000001", ')
    assert answer.content.endswith(b'"_generator": "BNPLGenerator"}\n\n')


async def test_an_unknown_generator_is_not_found(server: Server) -> None:
    assert (await server.client.post("/stream/loans", json={})).status_code == 404


@pytest.mark.parametrize(
    "body",
    [
        {"rate_per_second": 0.001},
        {"rate_per_second": 1001},
        {"start_date": "2026-06-31", "end_date": "2026-07-01"},
        {"start_date": "2025-01-01", "end_date": "2026-01-02"},
        {"start_date": "2026-06-02", "end_date": "2026-06-01"},
        {"noise_type": "pink"},
        {"arrival_pattern": "monthly"},
        {"peak_hours": [24]},
        {"seed": "seven"},
        {"regime": [{"at": "2026-06-02T00:00:00Z", "kind": "law"}]},
        {"regime": [{"at": "2026-06-02T00:00:00", "kind": "weather"}]},
        [],
        None,
    ],
    ids=str,
)
async def test_a_bad_body_is_refused(server: Server, body: object) -> None:
    assert (await server.client.post("/stream/bnpl", json=body)).status_code == 422


async def test_a_whole_leap_year_is_not_too_long(server: Server) -> None:
    body = HISTORY | {"start_date": "2024-01-01", "end_date": "2024-12-31", "base_daily_volume": 1}
    days = {event["_timestamp"][:10] for event in await server.events(body)}
    assert len(days) == 366


@pytest.mark.parametrize("date", ["start_date", "end_date"])
async def test_one_date_without_the_other_streams_live_events(server: Server, date: str) -> None:
    events = await server.events(LIVE | {date: "2026-06-01"})
    assert len(events) == 60
    assert {event["_timestamp"][:10] for event in events} == {"2026-11-23"}


async def test_unknown_keys_are_ignored(server: Server) -> None:
    assert await server.events(HISTORY | {"colour": "blue"}) == await server.events(HISTORY)


async def test_live_times_are_now_in_order_and_carry_microseconds(server: Server) -> None:
    times = [event["_timestamp"] for event in await server.events(LIVE)]
    assert all("2026-11-23T11:59:59.9" <= time <= "2026-11-23T12:00:00" for time in times)
    assert sum("." in time for time in times) > 50


async def test_a_live_stream_goes_on_with_the_people_of_the_last_history(server: Server) -> None:
    past = await server.events(HISTORY)
    live = await server.events(LIVE)
    known, now = people(past), people(live)
    assert known.keys() & now.keys(), "nobody came back"
    assert all(known[who] == now[who] for who in known.keys() & now.keys())
    newcomers = sorted(now.keys() - known.keys())
    assert newcomers[0] == f"cust_{len(known) + 1:06d}", "numbers begin again"
    assert live[0]["transaction_id"] == "txn_00000000"
    again = people(await server.events(LIVE))
    everybody = known | now
    assert all(everybody[who] == again[who] for who in everybody.keys() & again.keys())


async def test_a_known_customer_has_been_one_as_much_longer_as_time_has_passed(server: Server) -> None:
    before = tenures(await server.events(HISTORY))
    server.now += timedelta(days=10)
    after = tenures(await server.events(LIVE))
    both = before.keys() & after.keys()
    assert both
    assert all(after[who] == before[who] + 10 for who in both)


@pytest.mark.parametrize("other", [{"seed": 9}, {}], ids=["seeded", "other generator"])
async def test_a_live_stream_with_a_seed_or_of_another_generator_has_its_own_people(
    server: Server, other: dict[str, Any]
) -> None:
    past = await server.events(HISTORY)
    live = await server.events(LIVE | other, "bnpl" if other else "bnpl_history")
    assert live[0]["customer_id"] == "cust_000001"
    assert people(past)["cust_000001"] != people(live)["cust_000001"]


async def test_a_history_never_goes_on_with_another(server: Server) -> None:
    first = await server.events(HISTORY)
    await server.events(LIVE)
    assert await server.events(HISTORY) == first


@FRESH
async def test_a_fresh_server_gives_each_stream_its_own_people(server: Server) -> None:
    past = await server.events(HISTORY)
    live = await server.events(LIVE)
    assert live[0]["customer_id"] == "cust_000001"
    assert people(past)["cust_000001"] != people(live)["cust_000001"]


def test_a_live_stream_with_a_seed_tosses_every_label_with_the_same_noise() -> None:
    seeds = list(np.random.SeedSequence(9).spawn(2))
    generator = Worlds("continued").generator(Bnpl, StreamRequest(seed=9), seeds)
    draw = generator.draw(np.arange(500), 739_000)
    assert draw.probability - draw.expected == pytest.approx(np.full(500, draw.probability[0] - draw.expected[0]))
