"""Which advisories fail the audit: pure, the day is given.

An advisory that can't be avoided yet is passed over for a while, with a reason and a day on which that ends. There is
no entry without an end: what nobody looks at again was not decided but forgotten.
"""

from __future__ import annotations

import datetime as dt
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

LONGEST = dt.timedelta(days=180)
"""From today to the end of an entry. Longer, and nobody who knew the reason is still there when it ends."""
SHORTEST_REASON = 20
"""Characters. Less says nothing that the next reader could judge by."""

_FIELDS = {"advisory", "package", "reason", "expires"}


class IgnoredError(ValueError):
    """The list of ignored advisories is not what it has to be; the text names the entry."""


@dataclass(frozen=True, slots=True)
class Advisory:
    """One published weakness of one locked package."""

    package: str
    version: str
    names: frozenset[str]
    """Its id and its aliases: the same weakness has one with each publisher."""
    fixed_in: tuple[str, ...] = ()

    def __str__(self) -> str:
        mended = f"mended in {', '.join(self.fixed_in)}" if self.fixed_in else "no version mends it yet"
        return f"{self.package} {self.version}: {', '.join(sorted(self.names))} ({mended})"


@dataclass(frozen=True, slots=True)
class Ignored:
    advisory: str
    package: str
    reason: str
    expires: dt.date
    """The last day on which it holds."""


@dataclass(frozen=True, slots=True)
class Verdict:
    failing: tuple[str, ...]
    """Why the audit fails, a line each; empty: it passes."""
    ignored: tuple[str, ...]
    unused: tuple[str, ...]
    """Entries that no advisory answers to any more: they can go."""


def read_ignored(text: str, today: dt.date) -> list[Ignored]:
    """The entries of the list, which is TOML. Raises IgnoredError for one that is not whole, or ends too late."""
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise IgnoredError(f"not TOML: {error}") from error
    if set(document) - {"ignored"}:
        raise IgnoredError(f"unknown: {', '.join(sorted(set(document) - {'ignored'}))}")
    entries = [_entry(number, each, today) for number, each in enumerate(document.get("ignored", []), 1)]
    pairs = [(one.package, one.advisory) for one in entries]
    if len(set(pairs)) < len(pairs):
        raise IgnoredError("an advisory is ignored twice")
    return entries


def _entry(number: int, entry: Mapping[str, Any], today: dt.date) -> Ignored:
    where = f"entry {number} ({entry.get('advisory', '?')})"
    if set(entry) != _FIELDS:
        raise IgnoredError(f"{where}: needs {', '.join(sorted(_FIELDS))} and nothing else")
    texts = {name: entry[name] for name in ("advisory", "package", "reason")}
    if not all(isinstance(text, str) and text.strip() for text in texts.values()):
        raise IgnoredError(f"{where}: advisory, package and reason are texts")
    if len(texts["reason"].strip()) < SHORTEST_REASON:
        raise IgnoredError(f"{where}: the reason says nothing")
    expires = entry["expires"]
    if type(expires) is not dt.date:  # a moment is a date too, and would be compared with none
        raise IgnoredError(f"{where}: expires is a date, as 2026-12-31")
    if expires > today + LONGEST:
        raise IgnoredError(f"{where}: ends on {expires}, later than {LONGEST.days} days from today")
    return Ignored(texts["advisory"], texts["package"], texts["reason"], expires)


def judge(
    advisories: Sequence[Advisory], unaudited: Sequence[str], ignored: Sequence[Ignored], today: dt.date
) -> Verdict:
    """`unaudited`: packages that the source of advisories doesn't know; not knowing is no acquittal, so they fail."""
    failing = [f"{name}: the source of advisories doesn't know this package" for name in unaudited]
    passed: list[str] = []
    used: set[Ignored] = set()
    for advisory in advisories:
        entry = next((one for one in ignored if _means(one, advisory)), None)
        if entry is None:
            failing.append(str(advisory))
            continue
        used.add(entry)
        if entry.expires < today:
            failing.append(f"{advisory}; it was ignored until {entry.expires}: {entry.reason}")
        else:
            passed.append(f"{advisory}; ignored until {entry.expires}: {entry.reason}")
    unused = tuple(f"{one.package} {one.advisory}" for one in ignored if one not in used)
    return Verdict(tuple(failing), tuple(passed), unused)


def _means(entry: Ignored, advisory: Advisory) -> bool:
    return entry.package == advisory.package and entry.advisory in advisory.names
