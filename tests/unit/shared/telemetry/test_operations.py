from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest

from shared.telemetry.metrics import EVENTS
from shared.telemetry.operations import OperationsServer


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
    server = OperationsServer(0, service.ready)
    server.start()
    with httpx.Client(base_url=f"http://127.0.0.1:{server.port}") as client:
        yield client
    server.stop()


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


def test_an_unknown_path_is_not_found(client: httpx.Client) -> None:
    assert client.get("/secrets").status_code == 404
