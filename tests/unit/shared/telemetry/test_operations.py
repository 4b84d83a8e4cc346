from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack

import httpx
import pytest

from shared.telemetry.metrics import EVENTS
from shared.telemetry.operations import MOST_CONNECTIONS, OperationsServer, PortTaken, operations_of_job


class _Service:
    def __init__(self) -> None:
        self.reason: str | None = "no partitions yet"

    def ready(self) -> str | None:
        return self.reason


@pytest.fixture
def service() -> _Service:
    return _Service()


@pytest.fixture
def client(service: _Service) -> Iterator[httpx.Client]:
    with (
        OperationsServer(0, service.ready) as server,
        httpx.Client(base_url=f"http://127.0.0.1:{server.port}") as client,
    ):
        yield client


def test_where_the_port_is_taken_a_service_ends_and_a_job_goes_on(client: httpx.Client, service: _Service) -> None:
    taken = client.base_url.port or 0
    with pytest.raises(PortTaken, match=f"METRICS__PORT: can't listen on 127.0.0.1:{taken}"):
        OperationsServer(taken, service.ready)
    with operations_of_job(taken, service.ready):
        assert client.get("/live").status_code == 200  # the service's own


def test_a_job_is_watched_for_as_long_as_it_takes(service: _Service) -> None:
    with operations_of_job(0, service.ready) as operations:
        assert isinstance(operations, OperationsServer)
        live = f"http://127.0.0.1:{operations.port}/live"
        assert httpx.get(live).status_code == 200
    with pytest.raises(httpx.ConnectError):
        httpx.get(live)


def test_a_service_that_is_not_ready_says_why_and_is_alive(client: httpx.Client) -> None:
    answer = client.get("/ready")
    assert (answer.status_code, answer.text) == (503, "no partitions yet\n")
    assert client.get("/live").status_code == 200


def test_readiness_follows_the_service(client: httpx.Client, service: _Service) -> None:
    service.reason = None
    assert client.get("/ready").status_code == 200


def test_metrics_carry_what_was_counted(client: httpx.Client) -> None:
    EVENTS.labels("test", "a-topic", "ok").inc(3)
    assert 'flit_events_total{result="ok",service="test",topic="a-topic"} 3.0' in client.get("/metrics").text


def test_whoever_holds_connections_keeps_no_probe_out_and_costs_a_bounded_number_of_threads(
    client: httpx.Client,
) -> None:
    def serving() -> int:
        return sum("process_request_thread" in thread.name for thread in threading.enumerate())

    address = (client.base_url.host, client.base_url.port or 0)
    with ExitStack() as held:
        silent = [held.enter_context(socket.create_connection(address, timeout=5)) for _ in range(2 * MOST_CONNECTIONS)]
        assert client.get("/live").status_code == 200
        for one in silent[:MOST_CONNECTIONS]:
            assert one.recv(1) == b"", "the oldest were not closed"
        deadline = time.monotonic() + 10
        while serving() > MOST_CONNECTIONS:
            assert time.monotonic() < deadline, f"{serving()} threads"
            time.sleep(0.01)


def test_an_unknown_path_is_not_found(client: httpx.Client) -> None:
    assert client.get("/secrets").status_code == 404
