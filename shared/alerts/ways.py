"""The ways on which an alert reaches people, by apprise: a Slack webhook, a mail server."""

from __future__ import annotations

import logging
import re
import threading
import time
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qs, parse_qsl, unquote, urlsplit

import structlog

from shared.alerts.message import Message, Severity
from shared.alerts.settings import SMTP_PORTS, AlertsSettings

log = structlog.get_logger()

DEADLINE_S = 10.0
"""For all ways together: so long the caller waits at most. What arrives later has not been told, and is told again."""

STEP_S = 4.0
"""For connecting, and for an answer."""

_TYPES = {Severity.INFO: "info", Severity.WARNING: "warning", Severity.CRITICAL: "failure"}
_ADDRESS = re.compile(r"[^\s\"'<>@]+@[^\s\"'<>@]+")

Description = Mapping[str, Any]
"""What apprise makes a way of."""


class _Complaints(logging.Handler):
    """What apprise complains of, thread by thread: it gives no other reason. Nothing of it reaches the process's log by
    itself, for its lines hold addresses."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self._of = threading.local()

    def emit(self, record: logging.LogRecord) -> None:
        self._of.last = record.getMessage()

    def forget(self) -> None:
        self._of.last = "no reason given"

    def last(self) -> str:
        return _ADDRESS.sub("…", str(self._of.last))


_complaints = _Complaints()


def tell(settings: AlertsSettings, message: Message) -> list[str]:
    """The names of the ways that took it. Never raises, and takes no longer than `DEADLINE_S`."""
    try:
        # Only now: it knows a hundred other ways, and most processes never alert.
        import apprise
    except ImportError as error:
        log.error("alert_not_sent", reason=f"{error.name} is not installed")
        return []
    ways = _ways(settings)
    took: dict[str, bool] = {}

    def go(name: str) -> None:
        took[name] = _tell(apprise, name, ways[name], message)

    _listen()
    # Not a pool, whose threads the interpreter would wait for when it ends.
    threads = {name: threading.Thread(target=go, args=(name,), daemon=True) for name in ways}
    deadline = time.monotonic() + DEADLINE_S
    for thread in threads.values():
        thread.start()
    for name, thread in threads.items():
        thread.join(max(0.0, deadline - time.monotonic()))
        if name not in took:
            log.error("alert_not_sent", name=name, reason=f"no answer within {DEADLINE_S:g} seconds")
    return [name for name in ways if took.get(name)]


def _listen() -> None:
    logger = logging.getLogger("apprise")
    logger.propagate = False
    logger.setLevel(logging.WARNING)
    logger.addHandler(_complaints)  # once: a handler that is there isn't added


def _tell(library: Any, name: str, way: Description, message: Message) -> bool:
    try:
        sender = library.Apprise()
        sender.add(library.Apprise.instantiate(dict(way), suppress_exceptions=False))
        _complaints.forget()
        if name == "slack":
            title, body = "", message.for_slack()
        else:
            title, body = message.subject(), message.for_mail()
        if sender.notify(body=body, title=title, notify_type=_TYPES[message.severity], body_format="text"):
            return True
        reason = _complaints.last()
    except Exception as error:  # noqa: BLE001 - a thread's edge: an alert never raises
        # Without its text, which may hold the address, and with it a secret.
        reason = type(error).__name__
    log.error("alert_not_sent", name=name, reason=reason)
    return False


def _ways(settings: AlertsSettings) -> dict[str, Description]:
    found: dict[str, Description] = {}
    if settings.slack_webhook_url is not None:
        found["slack"] = _webhook(settings.slack_webhook_url.get_secret_value())
    if settings.smtp_url is not None:
        found["email"] = _mail(settings.smtp_url.get_secret_value())
    return found


def _webhook(address: str) -> Description:
    """A POST of `{"text": …}`, which Slack, and those that speak like it, take. Apprise's own `slack://` knows Slack's
    host alone, and so could neither be tried nor go through a gateway."""
    url = urlsplit(address)
    return {
        "schema": "jsons" if url.scheme == "https" else "json",
        "host": _host(url.hostname),
        "port": url.port,
        "user": _unquoted(url.username),
        "password": _unquoted(url.password),
        "fullpath": url.path,
        "params": dict(parse_qsl(url.query)),
        # Its name for the text is another, and the rest would be refused.
        "payload": {"message": "text", "title": "", "type": "", "version": "", "attachments": ""},
        "redirect": "no",
        "cto": STEP_S,
        "rto": STEP_S,
    }


def _mail(address: str) -> Description:
    """One letter for all: apprise would write one for each receiver, and a bad address among several would have it all
    told again."""
    url = urlsplit(address)
    people = parse_qs(url.query)
    host = url.hostname or ""
    local = host in ("localhost", "127.0.0.1", "::1")
    return {
        "schema": "mailto",
        "host": _host(host),
        "smtp_host": host,
        "port": url.port or SMTP_PORTS[url.scheme],
        "secure_mode": "ssl" if url.scheme == "smtps" else "insecure" if local else "starttls",
        "user": _unquoted(url.username),
        "password": _unquoted(url.password),
        "from_addr": people["from"][0],
        "targets": people["to"][:1],
        "cc": ",".join(people["to"][1:]),
        "format": "text",
        "cto": STEP_S,
    }


def _host(name: str | None) -> str | None:
    return f"[{name}]" if name and ":" in name else name


def _unquoted(text: str | None) -> str | None:
    return None if text is None else unquote(text)
