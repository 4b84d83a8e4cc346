"""Sends alerts where the settings say, once for each thing that is wrong."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TypeVar

import structlog

from shared.alerts import told as telling
from shared.alerts.memory import Memory
from shared.alerts.message import Message, Severity
from shared.alerts.settings import AlertsSettings
from shared.alerts.told import Go, Open, Told
from shared.alerts.ways import tell
from shared.contracts.identity import from_epoch_micros

log = structlog.get_logger()

T = TypeVar("T")

LONGEST_KEY = 200


class Alerts:
    """Guarantee: what reaches people reaches them at least once, and a second time only where the process died between
    sending it and noting so, or the state was lost. No method raises, or waits much longer than `ways.DEADLINE_S`."""

    def __init__(self, settings: AlertsSettings, service: str, *, clock: Callable[[], float] = time.time) -> None:
        self._settings, self._service, self._clock = settings, service, clock
        self._memory = Memory(settings.state)
        self._own = Told()
        """Of this process alone, where the shared state is away."""

    def send(
        self,
        title: str,
        lines: Sequence[str],
        *,
        severity: Severity = Severity.WARNING,
        key: str | None = None,
        link: str | None = None,
        runbook: str | None = None,
    ) -> list[str]:
        """Log it, tell people unless they know already, and give the ways on which it went.

        No personal data: channels are read by many. `key`: of what is wrong, the same each time (default: the title).
        `link`: where to look. `runbook`: a page of this repository, `docs/operations/…`, that says what to do.
        """
        key = (key or title)[:LONGEST_KEY]
        written = log.info if severity is Severity.INFO else log.error
        written("alert", name=title, kind=severity.value, detail=list(lines))
        if not self._reaches_people:
            return []
        go = self._change(lambda told: telling.begin(told, key, severity, self._clock()))
        if not isinstance(go, Go):
            log.info("alert_held_back", name=title, reason=go.value)
            return []
        said = [*lines, *_notes(go)]
        message = Message(title, said, self._service, severity, self._links(link, runbook))
        ways = tell(self._settings, message)
        if ways:
            self._change(lambda told: telling.finish(told, key, title, severity, go.held_back, self._clock()))
        else:
            self._change(lambda told: telling.failed(told, key, self._clock()))
        return ways

    def resolve(self, key: str, lines: Sequence[str] = ()) -> list[str]:
        """Tell people that it is over, if they had been told that it isn't, and give the ways on which that went.

        To be called whenever all is well: it costs the reading of a small file. Where it reached nobody, the next call
        tries again.
        """
        if not self._reaches_people:
            return []
        key = key[:LONGEST_KEY]
        over = self._change(lambda told: telling.begin_resolving(told, key, self._clock()))
        if over is None:
            return []
        log.info("alert_resolved", name=over.title)
        said = [*lines, _course(over)]
        ways = tell(self._settings, Message(over.title, said, self._service, Severity.INFO, resolved=True))
        if ways:
            self._change(lambda told: telling.finish_resolving(told, key))
        else:
            self._change(lambda told: telling.failed_resolving(told, key, self._clock()))
        return ways

    @property
    def _reaches_people(self) -> bool:
        return (self._settings.slack_webhook_url, self._settings.smtp_url) != (None, None)

    def _links(self, link: str | None, runbook: str | None) -> list[tuple[str, str]]:
        base = self._settings.documents_url.rstrip("/")
        page = f"{base}/{runbook}" if base else runbook
        return [(label, address) for label, address in (("Run-book", page), ("Look at", link)) if address]

    def _change(self, change: Callable[[Told], T]) -> T:
        try:
            return self._memory.change(change)
        except OSError as error:
            # Told twice rather than never: other processes don't know what this one has told.
            log.warning("alert_not_remembered", reason=error.strerror or type(error).__name__)
            return change(self._own)


def _notes(go: Go) -> list[str]:
    notes = []
    if go.known is not None:
        notes.append(f"still so: {_course(go.known)}")
    if go.held_back:
        notes.append(f"{go.held_back} other alerts were held back: the log has them")
    if go.last_of_the_window:
        notes.append("further alerts of this hour are held back, and counted in the next one")
    return notes


def _course(known: Open) -> str:
    since = from_epoch_micros(int(known.since * 1_000_000))
    return f"since {since}, and {known.repeats} times more since it was told"
