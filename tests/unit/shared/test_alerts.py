"""Alerts: over real sockets, to a webhook and a mail server of the test's own."""

from __future__ import annotations

import json
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from email import message_from_string
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest
from pydantic import ValidationError

from shared.alerts import Alerts, AlertsSettings

LINES = ["outcomes: column values to be unique of event_id", "2 rows"]


@contextmanager
def served(server: socketserver.BaseServer) -> Iterator[int]:
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server.server_address[1]  # type: ignore[index,misc]
    finally:
        server.shutdown()
        server.server_close()


class Webhook(BaseHTTPRequestHandler):
    bodies: list[dict[str, Any]]
    status = 200

    def do_POST(self) -> None:
        self.bodies.append(json.loads(self.rfile.read(int(self.headers["content-length"]))))
        self.send_response(self.status)
        self.end_headers()

    def log_message(self, *arguments: Any) -> None:
        pass


class Mail(socketserver.StreamRequestHandler):
    """As much of SMTP as a client needs to get rid of a message."""

    letters: list[str]

    def handle(self) -> None:
        self._say("220 test")
        for line in iter(self.rfile.readline, b""):
            verb = line.strip().upper()[:4]
            if verb == b"DATA":
                self._say("354 go on")
                self.letters.append(b"".join(iter(self.rfile.readline, b".\r\n")).decode())
            self._say("221 bye" if verb == b"QUIT" else "250 ok")
            if verb == b"QUIT":
                return

    def _say(self, text: str) -> None:
        self.wfile.write(f"{text}\r\n".encode())


@pytest.fixture
def webhook() -> type[Webhook]:
    return type("Hook", (Webhook,), {"bodies": []})


def test_an_alert_reaches_slack_and_the_mailbox(webhook: type[Webhook]) -> None:
    mail: type[Mail] = type("Box", (Mail,), {"letters": []})
    with (
        served(HTTPServer(("127.0.0.1", 0), webhook)) as hook,
        served(socketserver.ThreadingTCPServer(("127.0.0.1", 0), mail)) as box,
    ):
        settings = AlertsSettings.model_validate(
            {
                "slack_webhook_url": f"http://127.0.0.1:{hook}/T0/B0",
                "smtp_url": f"smtp://127.0.0.1:{box}?from=risk@flit.test&to=a@flit.test&to=b@flit.test",
            }
        )
        assert Alerts(settings, "trainer").send("training refused", LINES) == ["slack", "email"]
    (body,) = webhook.bodies
    assert body["text"].splitlines() == ["*training refused* (trainer)", *(f"• {line}" for line in LINES)]
    (letter,) = map(message_from_string, mail.letters)
    assert (letter["Subject"], letter["To"]) == ("[Flit Risk] training refused", "a@flit.test, b@flit.test")
    assert all(line in str(letter.get_payload()) for line in LINES)


def test_a_way_that_fails_holds_up_neither_the_other_nor_the_caller(webhook: type[Webhook]) -> None:
    webhook.status = 500
    with served(HTTPServer(("127.0.0.1", 0), webhook)) as hook:
        settings = AlertsSettings.model_validate({"slack_webhook_url": f"http://127.0.0.1:{hook}/"})
        assert Alerts(settings, "trainer").send("title", []) == []


def test_without_settings_the_log_is_all() -> None:
    assert Alerts(AlertsSettings(), "trainer").send("title", LINES) == []


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("slack_webhook_url", "file:///etc/passwd"),
        ("smtp_url", "http://host?from=a&to=b"),
        ("smtp_url", "smtp://host?from=a"),
        ("smtp_url", "smtp:///?from=a&to=b"),
    ],
)
def test_an_address_that_could_never_work_is_a_bad_setting(name: str, value: str) -> None:
    with pytest.raises(ValidationError):
        AlertsSettings.model_validate({name: value})


def test_secrets_of_the_addresses_are_in_no_text() -> None:
    settings = AlertsSettings.model_validate({"smtp_url": "smtps://user:hunter2@host?from=a&to=b"})
    assert "hunter2" not in repr(settings)
