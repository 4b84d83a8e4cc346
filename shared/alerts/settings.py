"""Settings of alerts."""

from __future__ import annotations

from email.utils import parseaddr
from pathlib import Path
from urllib.parse import SplitResult, parse_qs, urlsplit

from pydantic import SecretStr, field_validator

from shared.settings import Section

SMTP_PORTS = {"smtp": 587, "smtps": 465}


class AlertsSettings(Section):
    slack_webhook_url: SecretStr | None = None
    """`https://hooks.slack.com/…`: an incoming webhook, or another that takes `{"text": …}`."""
    smtp_url: SecretStr | None = None
    """`smtps://user:password@host:465?from=…&to=…&to=…`, or `smtp://…`, which asks for STARTTLS unless the host is this
    machine."""
    state: Path = Path(".local/alerts")
    """Folder that remembers what people have been told. It has to outlive the process, and processes that alert of the
    same things share it: else each tells of them anew."""
    documents_url: str = ""
    """Where this repository's files can be read, such as `https://github.com/…/blob/main`: run-books become links."""

    @field_validator("slack_webhook_url", "smtp_url", mode="before")
    @classmethod
    def _empty_is_none(cls, value: object) -> object:
        return value or None

    @field_validator("slack_webhook_url")
    @classmethod
    def _is_http(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None:
            url = _split(value)
            if url.scheme not in ("http", "https") or not url.hostname:
                raise ValueError("an http(s) URL")
        return value

    @field_validator("smtp_url")
    @classmethod
    def _is_smtp(cls, value: SecretStr | None) -> SecretStr | None:
        if value is None:
            return None
        url = _split(value)
        people = parse_qs(url.query)
        if url.scheme not in SMTP_PORTS or not url.hostname or not people.get("from") or not people.get("to"):
            raise ValueError("smtp:// or smtps:// with a host, ?from= and &to=")
        if not all("@" in parseaddr(each)[1] for each in (people["from"][0], *people["to"])):
            raise ValueError("from and to have to be e-mail addresses")
        return value


def _split(value: SecretStr) -> SplitResult:
    """Raises ValueError, without the URL in it."""
    try:
        url = urlsplit(value.get_secret_value())
        url.port  # noqa: B018 - raises where it is none
    except ValueError:
        raise ValueError("a URL that can be read") from None
    return url
