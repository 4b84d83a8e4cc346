"""The balancer and the client in front of two doors, of which one goes away."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx
import pytest
from flit_risk import FlitRisk, Unavailable

from deploy.local.ports import free_port
from shared.contracts.examples import examples_of
from tests.availability.balancer import Backend, Balancer
from tests.availability.calls import Caller
from tests.load.purchases import Purchases

ANSWER = examples_of("decision")[0]


class Door(BaseHTTPRequestHandler):
    """A scorer's, as far as a balancer sees it."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.answer({})

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self.answer({**ANSWER, "event_id": asked["event_id"]})

    def answer(self, body: dict[str, Any]) -> None:
        sent = json.dumps(body).encode()
        self.send_response(200)
        self.send_header("content-length", str(len(sent)))
        self.end_headers()
        self.wfile.write(sent)

    def log_message(self, *_: object) -> None:
        return


@pytest.fixture
def door() -> Iterator[int]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Door) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_port
        server.shutdown()


def backend(port: int) -> Backend:
    return Backend(httpx.URL(f"http://127.0.0.1:{port}"), port)


def test_a_call_that_meets_a_dead_door_is_answered_by_the_other(door: int) -> None:
    dead = backend(free_port())
    balancer = Balancer([dead, backend(door)])
    made = Purchases()
    with FlitRisk("http://checkout", transport=balancer, patience_s=20.0) as client:
        # Before the balancer knows, or after: each call has its decision.
        for purchase in (next(made) for _ in range(6)):
            assert client.decide(json.loads(purchase.body)).event_id == purchase.id
            dead.ready = True
    assert balancer.lost > 0


def test_calls_are_given_up_where_both_doors_are_dead() -> None:
    balancer = Balancer([backend(free_port()), backend(free_port())])
    with FlitRisk("http://checkout", transport=balancer, patience_s=0.2) as client, pytest.raises(Unavailable):
        client.decide(json.loads(next(Purchases()).body))


def test_every_call_that_is_sent_ends_as_answered_or_failed(door: int) -> None:
    with ExitStack() as running:
        client = running.enter_context(FlitRisk("http://checkout", transport=Balancer([backend(door)])))
        caller = Caller(client, Purchases(), rate=200.0)
        caller.start()
        answered = threading.Event()
        while not answered.wait(0.01):
            if caller.calls.answered >= 20:
                answered.set()
        calls = caller.stop()
    assert calls.sent == calls.answered + sum(calls.failed.values())
    assert calls.failed == {}
    assert calls.share == 1.0
