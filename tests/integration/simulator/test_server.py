"""The simulator over HTTP: framing on the wire, pace, and what happens to a connection."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import time
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from statistics import median
from types import SimpleNamespace
from typing import Any

import httpx
import pytest

from services.simulator.api import create_app
from services.simulator.settings import SimulatorSection
from tests.integration.simulator.conftest import Running, started, wait_until

HISTORY = {"start_date": "2026-06-01", "end_date": "2026-06-03", "base_daily_volume": 500, "seed": 7}


def read(url: str, body: dict[str, Any]) -> tuple[bytes, httpx.Headers]:
    answer = httpx.post(f"{url}/stream/bnpl", json=body, timeout=30)
    assert answer.status_code == 200
    return answer.content, answer.headers


def test_a_history_is_chunked_plain_text_and_the_same_bytes_each_time(simulator: Running) -> None:
    body, headers = read(simulator.url, HISTORY)
    assert headers["content-type"] == "text/plain; charset=utf-8"
    assert headers["transfer-encoding"] == "chunked"
    assert "date" in headers, "the ingestor reads the server's day off it"
    frames = body.removesuffix(b"\n\n").split(b"\n\n")
    events = [json.loads(frame.removeprefix(b"data: ")) for frame in frames]
    assert {event["_timestamp"][:10] for event in events} == {"2026-06-01", "2026-06-02", "2026-06-03"}
    assert read(simulator.url, HISTORY)[0] == body


def test_one_event_is_one_chunk(simulator: Running) -> None:
    """Read off the raw socket: an HTTP client may join chunks."""
    body = json.dumps(HISTORY | {"max_records": 20}).encode()
    head = (
        "POST /stream/bnpl HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", simulator.port), timeout=10) as connection:
        connection.sendall(head.encode() + body)
        raw = b"".join(iter(lambda: connection.recv(65_536), b""))
    chunked, chunks = raw.partition(b"\r\n\r\n")[2], []
    while chunked:
        size, _, rest = chunked.partition(b"\r\n")
        chunks.append(rest[: int(size, 16)])
        chunked = rest[int(size, 16) + 2 :]
    assert chunks.pop() == b""
    assert len(chunks) == 20
    assert all(chunk.startswith(b"data: {") and chunk.endswith(b"}\n\n") for chunk in chunks)


async def test_the_pause_after_a_day_can_be_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """In this process: how long a body takes tells nothing of pauses on a busy machine."""
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    monkeypatch.setattr("services.simulator.stream.asyncio", SimpleNamespace(sleep=sleep))
    app = create_app(SimulatorSection(history_day_pause_seconds=7.0))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://simulator") as client:
        for body, pause in ((HISTORY, 7.0), (HISTORY | {"history_day_pause_seconds": 0.4}, 0.4)):
            slept.clear()
            assert (await client.post("/stream/bnpl", json=body)).status_code == 200
            assert [each for each in slept if each] == [pause] * 2, "between three days, none after the last"


@pytest.mark.parametrize("rate", [50, 1000])
def test_live_events_come_at_the_rate_asked_for(simulator: Running, rate: int) -> None:
    began = time.perf_counter()
    body, _ = read(simulator.url, {"rate_per_second": rate, "max_records": 2 * rate})
    took_s = time.perf_counter() - began
    frames = body.removesuffix(b"\n\n").split(b"\n\n")
    assert len(frames) == 2 * rate
    # No sooner than they are due; how much later is the machine's. By the server's own stamps they are due at even
    # times: where it stood still, a gap is longer, and the one in the middle isn't.
    assert 2 * rate / took_s < 1.15 * rate
    stamps = [datetime.fromisoformat(json.loads(frame.removeprefix(b"data: "))["_timestamp"]) for frame in frames]
    gaps_s = [(later - earlier).total_seconds() for earlier, later in pairwise(stamps)]
    assert 1 / median(gaps_s) == pytest.approx(rate, rel=0.15)


@pytest.mark.parametrize("keys", [{"drift_type": "linear"}, {"arrival_pattern": "nhpp"}], ids=str)
def test_a_zone_aware_start_time_answers_200_and_then_breaks_the_body(simulator: Running, keys: dict[str, str]) -> None:
    body = keys | {"start_time": "2026-01-01T00:00:00+00:00", "rate_per_second": 100}
    with httpx.stream("POST", f"{simulator.url}/stream/bnpl", json=body) as answer:
        assert answer.status_code == 200
        with pytest.raises(httpx.RemoteProtocolError, match="incomplete chunked read"):
            answer.read()
    assert httpx.get(simulator.url).status_code == 200


def test_a_naive_start_time_does_not_break_the_body(simulator: Running) -> None:
    keys = {"arrival_pattern": "nhpp", "drift_type": "linear", "start_time": "2026-01-01T00:00:00"}
    body, _ = read(simulator.url, keys | {"rate_per_second": 1000, "max_records": 20})
    assert body.count(b"data: ") == 20


def test_refusals_carry_their_status(simulator: Running) -> None:
    assert httpx.post(f"{simulator.url}/stream/loans", json={}).status_code == 404
    assert httpx.post(f"{simulator.url}/stream/bnpl", json={"rate_per_second": 0}).status_code == 422
    assert httpx.post(f"{simulator.url}/stream/bnpl", content=b"{").status_code == 422


@pytest.mark.parametrize("rate", [0.01, 500])
def test_a_client_that_leaves_ends_its_stream(simulator: Running, rate: float) -> None:
    with httpx.stream("POST", f"{simulator.url}/stream/bnpl", json={"rate_per_second": rate}) as answer:
        assert answer.status_code == 200
        wait_until(lambda: simulator.open_streams("live") == 1)
    wait_until(lambda: simulator.open_streams("live") == 0)


def test_a_client_that_leaves_a_history_stops_its_generation(simulator: Running) -> None:
    endless = HISTORY | {"end_date": "2027-05-30", "base_daily_volume": 5_000}
    before = simulator.sent()
    with httpx.stream("POST", f"{simulator.url}/stream/bnpl", json=endless) as answer:
        next(answer.iter_raw())
    wait_until(lambda: simulator.open_streams("history") == 0)
    assert simulator.sent() - before < 100_000, "most of the 1.8 million were drawn for nobody"


def test_an_unread_socket_stops_the_generation_and_reading_on_resumes_it(simulator: Running) -> None:
    asked = HISTORY | {"end_date": "2026-07-30", "base_daily_volume": 1_500}
    before = simulator.sent()
    with httpx.stream("POST", f"{simulator.url}/stream/bnpl", json=asked, timeout=60) as answer:
        stalled = _settled(simulator)
        assert stalled - before < 15_000, "of 90,000: the rest is not drawn while nobody reads"
        received = sum(chunk.count(b'"transaction_id"') for chunk in answer.iter_raw())
    assert received > 75_000
    assert received == pytest.approx(simulator.sent() - before, abs=received * 0.01)  # chunks may cut a name in two


def _settled(simulator: Running) -> float:
    """The count of events once it has stood still for half a second."""
    last, since = simulator.sent(), time.monotonic()

    def still() -> bool:
        nonlocal last, since
        now = simulator.sent()
        if now != last:
            last, since = now, time.monotonic()
        return time.monotonic() - since > 0.5

    wait_until(still)
    return last


def test_two_streams_run_side_by_side(simulator: Running) -> None:
    with httpx.stream("POST", f"{simulator.url}/stream/bnpl", json={"rate_per_second": 200}) as live:
        chunks = live.iter_raw()
        next(chunks)
        alone, _ = read(simulator.url, HISTORY)
        next(chunks)
    assert read(simulator.url, HISTORY)[0] == alone


def test_sigterm_ends_it_within_seconds_and_breaks_open_bodies_off(tmp_path: Path) -> None:
    with started(tmp_path / "log") as running:
        with httpx.stream("POST", f"{running.url}/stream/bnpl", json={"rate_per_second": 100}) as answer:
            chunks = answer.iter_raw()
            next(chunks)
            running.process.send_signal(signal.SIGTERM)
            with pytest.raises(httpx.RemoteProtocolError):
                for _ in chunks:
                    pass
        assert running.process.wait(5) == 0, running.log.read_text()


def test_check_says_whether_the_port_is_free(simulator: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    command = [sys.executable, "-m", "services.simulator", "--check"]
    monkeypatch.setenv("SIMULATOR__PORT", str(simulator.port))
    taken = subprocess.run(command, capture_output=True, text=True, check=False)
    assert taken.returncode == 1
    assert "in use" in taken.stdout
    monkeypatch.setenv("SIMULATOR__PORT", "65536")
    bad = subprocess.run(command, capture_output=True, text=True, check=False)
    assert bad.returncode == 2
    assert "SIMULATOR__PORT" in bad.stderr
