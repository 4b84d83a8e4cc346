"""wrk itself with our script, against a door that keeps what it was asked."""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.load.ceiling import ask


@dataclass
class Asked:
    url: str = ""
    status: int = 200
    requests: list[tuple[dict[str, str], dict[str, Any]]] = field(default_factory=list)
    """Headers and body of each, kept as one: several threads are at it."""


@pytest.fixture
def asked() -> Iterator[Asked]:
    kept = Asked()

    class Door(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            headers = {name.lower(): value for name, value in self.headers.items()}
            kept.requests.append((headers, json.loads(self.rfile.read(int(headers["content-length"])))))
            self.send_response(kept.status)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            return

    with ThreadingHTTPServer(("127.0.0.1", 0), Door) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        kept.url = f"http://127.0.0.1:{server.server_port}"
        yield kept
        server.shutdown()


@pytest.fixture
def wrk() -> str:
    found = shutil.which("wrk")
    if found is None:
        pytest.skip("wrk is not installed")
    return found


def test_each_request_is_a_purchase_of_its_own_under_a_key_of_its_own(wrk: str, asked: Asked, tmp_path: Path) -> None:
    found = ask(wrk, asked.url, "flit_key", 1, tmp_path)
    assert found["requests"] > 0
    assert (found["not_200"], found["lost"]) == (0, 0)
    assert len({body["event_id"] for _, body in asked.requests}) == len(asked.requests)
    for headers, body in asked.requests:
        assert headers["idempotency-key"] == body["event_id"] == body["transaction_id"]
        assert headers["authorization"] == "Bearer flit_key"
        assert body["customer_id"].startswith("shopper-")


@pytest.mark.parametrize("status", [503, 302, 204])
def test_what_is_no_decision_is_counted(wrk: str, asked: Asked, tmp_path: Path, status: int) -> None:
    """wrk itself takes a redirect for an answer."""
    asked.status = status
    found = ask(wrk, asked.url, "", 1, tmp_path)
    assert found["not_200"] == found["requests"] > 0
    assert all("authorization" not in headers for headers, _ in asked.requests)
