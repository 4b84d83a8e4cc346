"""A webhook and a mail server on real sockets, as an alert meets them: in good health, refusing, slow, away."""

from __future__ import annotations

import json
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email import message_from_string
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from shared.alerts import AlertsSettings


@dataclass
class Webhook:
    """Answers as a webhook of Slack does: `ok`, or a status with a word."""

    posted: list[dict[str, Any]] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)
    status: int = 200
    answers: threading.Event = field(default_factory=threading.Event)
    """Cleared: it keeps its callers waiting."""
    port: int = 0

    def __post_init__(self) -> None:
        self.answers.set()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/services/T0/B0/secret0"

    @property
    def texts(self) -> list[str]:
        return [body["text"] for body in self.posted]


@dataclass
class Mailbox:
    """As much of SMTP as a client needs to get rid of a letter."""

    letters: list[Message] = field(default_factory=list)
    receivers: list[list[str]] = field(default_factory=list)
    refused: frozenset[str] = frozenset()
    """Receivers that it doesn't know."""
    port: int = 0

    @property
    def url(self) -> str:
        return f"smtp://127.0.0.1:{self.port}?from=risk@flit.test&to=a@flit.test&to=b@flit.test"


@contextmanager
def listening(webhook: Webhook) -> Iterator[Webhook]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            webhook.answers.wait()
            if webhook.status == 200:
                webhook.posted.append(body)
                webhook.paths.append(self.path)
            self.send_response(webhook.status)
            self.end_headers()
            self.wfile.write(b"ok" if webhook.status == 200 else b"no_service")

        def log_message(self, *arguments: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    try:
        with _served(server) as webhook.port:
            yield webhook
    finally:
        webhook.answers.set()


@contextmanager
def delivering(mailbox: Mailbox) -> Iterator[Mailbox]:
    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            receivers: list[str] = []
            self._say("220 test")
            for line in iter(self.rfile.readline, b""):
                verb = line.strip().upper()[:4]
                if verb == b"RCPT":
                    receiver = line.decode().partition("<")[2].partition(">")[0]
                    if receiver in mailbox.refused:
                        self._say("550 no such user")
                        continue
                    receivers.append(receiver)
                if verb == b"DATA":
                    self._say("354 go on")
                    text = b"".join(iter(self.rfile.readline, b".\r\n")).decode()
                    mailbox.letters.append(message_from_string(text))
                    mailbox.receivers.append(receivers)
                self._say("221 bye" if verb == b"QUIT" else "250 ok")
                if verb == b"QUIT":
                    return

        def _say(self, text: str) -> None:
            self.wfile.write(f"{text}\r\n".encode())

    class Server(socketserver.ThreadingTCPServer):
        daemon_threads = True

    with _served(Server(("127.0.0.1", 0), Handler)) as mailbox.port:
        yield mailbox


@contextmanager
def _served(server: socketserver.TCPServer) -> Iterator[int]:
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield int(server.server_address[1])
    finally:
        server.shutdown()
        server.server_close()


def settings_of(folder: Path, *, webhook: Webhook | None = None, mailbox: Mailbox | None = None) -> AlertsSettings:
    return AlertsSettings.model_validate(
        {
            "slack_webhook_url": webhook.url if webhook else "",
            "smtp_url": mailbox.url if mailbox else "",
            "state": folder / "alerts",
        }
    )


@dataclass
class Clock:
    """Seconds since 1970; stands still until it is moved."""

    now: float = 1_780_000_000.0

    def __call__(self) -> float:
        return self.now
