"""Locust with our users, against a door that keeps what it was asked: what is reported is what happened."""

from __future__ import annotations

import itertools
import json
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.load.driving import LocustFailed, Target, drive
from tests.load.seen import CHECKOUT
from tests.load.shapes import Rates

USERS, SECONDS = 5, 4.0


@dataclass
class Door:
    url: str = ""
    refused: int = 0
    """How many of the first requests are answered 503."""
    statuses: list[int] = field(default_factory=list)
    keys: list[str] = field(default_factory=list)
    asked_at_s: list[float] = field(default_factory=list)
    connections: set[int] = field(default_factory=set)
    """By the port that they come from."""


@pytest.fixture
def door() -> Iterator[Door]:
    kept, turns = Door(), itertools.count()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
            kept.asked_at_s.append(time.perf_counter())
            status = 503 if next(turns) < kept.refused else 200
            kept.statuses.append(status)
            kept.keys.append(self.headers["idempotency-key"])
            kept.connections.add(self.client_address[1])
            body = json.dumps({"event_id": asked["event_id"]}).encode()
            self.send_response(status)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            return

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        kept.url = f"http://127.0.0.1:{server.server_port}"
        yield kept
        server.shutdown()


def test_what_locust_reports_is_what_the_door_was_asked(door: Door, tmp_path: Path) -> None:
    door.refused = 3
    (seen,) = drive(Target(door.url), "steady", Rates(USERS, 0), SECONDS, tmp_path / "run")
    assert seen.name == CHECKOUT
    assert seen.requests == len(door.statuses) > USERS
    assert seen.failures == door.statuses.count(503) == 3
    assert sum(seen.times_ms.values()) == seen.requests
    assert len(set(door.keys)) == len(door.keys)
    assert len(door.connections) == USERS
    assert {"run.html", "run_stats.csv", "run.log"} <= {path.name for path in tmp_path.iterdir()}


def test_users_that_were_made_together_do_not_ask_together(door: Door, tmp_path: Path) -> None:
    """Else a door would be asked everything in the first moment of each second, which no shop's customers do."""
    users = 20
    drive(Target(door.url), "steady", Rates(users, 0), SECONDS, tmp_path / "run")
    moments = sorted(at % 1.0 for at in door.asked_at_s[users:])
    # Of a tenth of a second the busiest: two of twenty on average, nearly all of them if they keep one beat.
    busiest = max(sum(begin <= moment < begin + 0.1 for moment in moments) for begin in moments)
    assert busiest < len(moments) / 2


def test_a_locust_that_can_not_run_is_no_run_without_failures(tmp_path: Path) -> None:
    (tmp_path / "run.seen.json").write_text("[]")
    with pytest.raises(LocustFailed):
        drive(Target("http://127.0.0.1:9"), "no such shape", Rates(1, 0), 1.0, tmp_path / "run")
