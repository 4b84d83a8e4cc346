from __future__ import annotations

import os
import threading
import urllib.request
from collections.abc import Iterator
from functools import partial
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from deploy.local import backfill, background, control, demo, stack
from deploy.local.ports import free_port
from deploy.local.proxies import around_proxies
from deploy.local.services import status_of

PROXIES = ("http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY", "no_proxy", "NO_PROXY")
PROXY = {"http_proxy": "http://proxy.corp:3128"}


class Ready(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def service() -> Iterator[int]:
    """The port of something that is ready."""
    with HTTPServer(("127.0.0.1", 0), Ready) as server:
        serving = threading.Thread(target=server.serve_forever)
        serving.start()
        yield server.server_port
        server.shutdown()
        serving.join()


def test_a_service_is_seen_to_be_ready_though_a_proxy_is_set(service: int, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in PROXIES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{free_port()}")
    anew = partial(monkeypatch.setattr, urllib.request, "_opener", None)  # it is made once, by what was set then
    anew()
    assert status_of(service, "/ready") is None
    for name, value in around_proxies(os.environ).items():
        monkeypatch.setenv(name, value)
    anew()
    assert status_of(service, "/ready") == 200


@pytest.mark.parametrize(
    ("set_there", "needed"),
    [
        ({}, ("127.0.0.1,localhost", "127.0.0.1,localhost")),
        ({"no_proxy": "corp, localhost"}, ("corp,localhost,127.0.0.1", "corp,localhost,127.0.0.1")),
        ({"NO_PROXY": "corp"}, ("corp,127.0.0.1,localhost", "corp,127.0.0.1,localhost")),
        ({"NO_PROXY": "a", "no_proxy": "b"}, ("a,127.0.0.1,localhost", "b,127.0.0.1,localhost")),
        ({"NO_PROXY": "a", "no_proxy": ""}, ("a,127.0.0.1,localhost", "127.0.0.1,localhost")),
        ({"no_proxy": "*"}, ("*", "*")),
    ],
)
def test_what_is_set_there_is_kept(set_there: dict[str, str], needed: tuple[str, str]) -> None:
    around = around_proxies(PROXY | set_there)
    assert (around["NO_PROXY"], around["no_proxy"]) == needed
    assert around_proxies(PROXY | around) == around


@pytest.mark.parametrize("environment", [{}, {"no_proxy": "corp"}, {"http_proxy": "", "NO_PROXY": "corp"}])
def test_where_no_proxy_is_set_nothing_is_said_of_any(environment: dict[str, str]) -> None:
    assert around_proxies(environment) == {}


class Asked(Exception):
    pass


@pytest.mark.parametrize("program", [backfill, background, control, demo, stack], ids=lambda program: program.__name__)
def test_each_program_goes_around_proxies_before_anything_else(
    program: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    def asked(environment: object) -> dict[str, str]:
        raise Asked

    monkeypatch.setattr(program, "around_proxies", asked)
    with pytest.raises(Asked):
        program.main()  # type: ignore[attr-defined]
