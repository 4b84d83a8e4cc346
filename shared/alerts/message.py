"""What people get to read. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from html import escape

MOST_LINES = 20
LONGEST_LINE = 300
"""Characters. Whoever needs more opens the link or the log; a channel with pages of text is read by nobody."""


class Severity(StrEnum):
    INFO = "info"
    """Good to know; nobody has to do anything."""
    WARNING = "warning"
    """Somebody should look during working hours."""
    CRITICAL = "critical"
    """Somebody should look now."""

    @property
    def rank(self) -> int:
        return list(Severity).index(self)


_SIGNS = {Severity.INFO: ":information_source:", Severity.WARNING: ":warning:", Severity.CRITICAL: ":rotating_light:"}
_RESOLVED_SIGN = ":white_check_mark:"


@dataclass(frozen=True)
class Message:
    title: str
    lines: Sequence[str]
    service: str
    severity: Severity
    links: Sequence[tuple[str, str]] = ()
    """Label and address each."""
    resolved: bool = False

    def for_slack(self) -> str:
        """Slack's own markup, in which `&`, `<` and `>` have a meaning: nobody's text rings a whole channel."""
        sign = _RESOLVED_SIGN if self.resolved else _SIGNS[self.severity]
        head = f"{sign} *{escape(_short(self._head), quote=False)}* ({self._from})"
        return "\n".join(
            [
                head,
                *(f"• {escape(line, quote=False)}" for line in self._shown()),
                *(_slack_link(label, address) for label, address in self.links),
            ]
        )

    def subject(self) -> str:
        return " ".join(f"[Flit Risk] {'' if self.resolved else f'{self.severity}: '}{_short(self._head)}".split())

    def for_mail(self) -> str:
        links = [f"{label}: {address}" for label, address in self.links]
        return "\n".join([f"{_short(self._head)} ({self._from})", "", *self._shown(), *([""] if links else []), *links])

    @property
    def _head(self) -> str:
        return f"resolved: {self.title}" if self.resolved else self.title

    @property
    def _from(self) -> str:
        return self.service if self.resolved else f"{self.service}, {self.severity}"

    def _shown(self) -> list[str]:
        more = len(self.lines) - MOST_LINES
        return [*map(_short, self.lines[:MOST_LINES]), *([f"… and {more} more lines"] if more > 0 else [])]


def _short(text: str) -> str:
    return text if len(text) <= LONGEST_LINE else f"{text[:LONGEST_LINE]}…"


def _slack_link(label: str, address: str) -> str:
    shown = escape(address, quote=False)
    return f"<{shown}|{label}>" if address.startswith(("http://", "https://")) else f"{label}: {shown}"
