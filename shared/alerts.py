"""Telling people, on Slack and by e-mail. Where neither is set, the log is all there is.

An alert never raises: what it is about has to go on, or has failed already. `python -m shared.alerts TITLE [LINE …]`
sends one.
"""

from __future__ import annotations

import json
import smtplib
import ssl
import sys
import urllib.request
from email.message import EmailMessage
from urllib.parse import SplitResult, parse_qs, unquote, urlsplit

import structlog
from pydantic import SecretStr, field_validator

from shared.settings import Section, ServiceSettings, load_settings
from shared.telemetry import logging

log = structlog.get_logger()

TIMEOUT_S = 10.0
SMTP_PORTS = {"smtp": 587, "smtps": 465}


class AlertsSettings(Section):
    slack_webhook_url: SecretStr | None = None
    """`https://hooks.slack.com/…`: an incoming webhook."""
    smtp_url: SecretStr | None = None
    """`smtps://user:password@host:465?from=…&to=…&to=…`, or `smtp://…`, which asks for STARTTLS unless the host is this
    machine."""

    @field_validator("slack_webhook_url", "smtp_url", mode="before")
    @classmethod
    def _empty_is_none(cls, value: object) -> object:
        return value or None

    @field_validator("slack_webhook_url")
    @classmethod
    def _is_http(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and urlsplit(value.get_secret_value()).scheme not in ("http", "https"):
            raise ValueError("an http(s) URL")
        return value

    @field_validator("smtp_url")
    @classmethod
    def _is_smtp(cls, value: SecretStr | None) -> SecretStr | None:
        if value is None:
            return None
        url = urlsplit(value.get_secret_value())
        people = parse_qs(url.query)
        if url.scheme not in SMTP_PORTS or not url.hostname or not people.get("from") or not people.get("to"):
            raise ValueError("smtp:// or smtps:// with a host, ?from= and &to=")
        return value


class Alerts:
    """Sends alerts where the settings say."""

    def __init__(self, settings: AlertsSettings, service: str) -> None:
        self._settings = settings
        self._service = service

    def send(self, title: str, lines: list[str]) -> list[str]:
        """Log it, send it, and give the ways on which it went. No personal data: channels are read by many."""
        log.error("alert", name=title, detail=lines)
        sent = []
        slack, smtp = self._settings.slack_webhook_url, self._settings.smtp_url
        for name, secret, way in (("slack", slack, self._slack), ("email", smtp, self._email)):
            if secret is None:
                continue
            try:
                way(secret.get_secret_value(), title, lines)
                sent.append(name)
            except (OSError, smtplib.SMTPException, ValueError) as error:
                # Without the URL, which holds a secret.
                log.error("alert_not_sent", name=name, kind=type(error).__name__)
        return sent

    def _slack(self, url: str, title: str, lines: list[str]) -> None:
        text = "\n".join([f"*{title}* ({self._service})", *(f"• {line}" for line in lines)])
        request = urllib.request.Request(url, json.dumps({"text": text}).encode(), {"content-type": "application/json"})
        with urllib.request.urlopen(request, timeout=TIMEOUT_S):
            pass

    def _email(self, url: str, title: str, lines: list[str]) -> None:
        at = urlsplit(url)
        people = parse_qs(at.query)
        message = EmailMessage()
        message["Subject"] = f"[Flit Risk] {title}"
        message["From"], message["To"] = people["from"][0], ", ".join(people["to"])
        message.set_content("\n".join([f"{self._service}: {title}", "", *lines]))
        with _connected(at) as client:
            if at.username:
                client.login(unquote(at.username), unquote(at.password or ""))
            client.send_message(message)


def _connected(at: SplitResult) -> smtplib.SMTP:
    host, port = at.hostname or "", at.port or SMTP_PORTS[at.scheme]
    if at.scheme == "smtps":
        return smtplib.SMTP_SSL(host, port, timeout=TIMEOUT_S, context=ssl.create_default_context())
    client = smtplib.SMTP(host, port, timeout=TIMEOUT_S)
    if host not in ("localhost", "127.0.0.1", "::1"):
        client.starttls(context=ssl.create_default_context())
    return client


class _Settings(ServiceSettings):
    alerts: AlertsSettings = AlertsSettings()


def main() -> None:
    settings = load_settings(_Settings)
    logging.configure("alerts", settings.log.level, settings.log.format)
    title, *lines = sys.argv[1:] or ["a test"]
    Alerts(settings.alerts, "operator").send(title, lines)


if __name__ == "__main__":
    main()
