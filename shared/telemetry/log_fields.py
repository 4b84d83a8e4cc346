"""What may stand in a log line: names on a list, values of bounded size, nothing that could be taken for another line.

A name that isn't on the list is left out and counted. Ids of customers, devices and payment methods, amounts, bodies,
headers and keys aren't on it, and must never be.
"""

from __future__ import annotations

import re
import traceback
from collections.abc import Mapping, Set
from datetime import date
from enum import Enum
from pathlib import PurePath
from types import TracebackType
from typing import Any

from prometheus_client import Counter
from structlog.typing import EventDict

FIELDS_DROPPED = Counter("flit_log_fields_dropped_total", "Fields left out of log lines, for they aren't on the list")

_OF_EVERY_LINE = frozenset({"event", "level", "logger", "timestamp", "service", "exception", "stack"})

ALLOWED = _OF_EVERY_LINE | frozenset({
    # What it is about.
    "event_id", "erasure_id", "source", "generator", "mode", "seed", "day", "topic", "partition", "partitions",
    "offset", "offsets", "place", "path", "name", "kind", "code", "command", "status", "reason", "reasons", "because",
    "detail", "error", "trace_id", "first_read", "found", "expected",
    # How much, how far, how long.
    "acknowledged", "complete", "created", "changes", "ended", "events", "first", "highest", "last", "letters", "lines",
    "records", "refused", "rows", "seconds", "again_in", "taken_in", "after", "up_to", "whole",
    # What is in service.
    "model", "version", "versions", "policy", "experiment", "arms", "shadow", "beside", "before", "serving", "promoted",
    "parity", "by",
    # How models are looked after.
    "step", "what", "concern", "blind", "as_of", "drift", "performance", "poisoned", "trigger", "why", "since",
    "gate", "gates", "passed", "figures", "stage",
    # Where it is served.
    "address", "port", "operations_port", "brokers",
})  # fmt: skip

TEXT_LIMIT = 1000
"""Characters of a text: the longest error that tells something new to the end."""
ITEMS_LIMIT = 50
DEPTH_LIMIT = 3
TRACEBACK_LINES = 60
TRACEBACK_WIDTH = 300

_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")
"""Also what breaks or turns a line around on a screen only."""


def bounded(_: Any, __: str, event: EventDict) -> EventDict:
    """The processor: last before a line is rendered, for the libraries' lines as well as ours."""
    kept: EventDict = {}
    for name, value in event.items():
        if name == "exception":
            kept[name] = value  # made by `plain_traceback`
        elif name in ALLOWED:
            kept[name] = _safe(value)
        else:
            FIELDS_DROPPED.inc()
    return kept


def plain_traceback(exc_info: tuple[type[BaseException], BaseException, TracebackType | None]) -> str:
    """Where it happened, without local variables. Each line is indented: none can be taken for one of the log."""
    lines = "".join(traceback.format_exception(*exc_info)).splitlines()
    left_out = len(lines) - TRACEBACK_LINES
    if left_out > 0:
        lines = [f"({left_out} lines before)", *lines[-TRACEBACK_LINES:]]
    return "\n".join(f"  {_text(line, TRACEBACK_WIDTH)}" for line in lines)


def _safe(value: Any, depth: int = 0) -> Any:
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, Enum):
        return _safe(value.value, depth)
    if isinstance(value, str | PurePath | date | BaseException):
        return _text(str(value), TEXT_LIMIT)
    if depth < DEPTH_LIMIT and isinstance(value, Mapping):
        pairs = list(value.items())[:ITEMS_LIMIT]
        return {_text(str(name), TEXT_LIMIT): _safe(each, depth + 1) for name, each in pairs}
    if depth < DEPTH_LIMIT and isinstance(value, list | tuple | Set):
        return [_safe(each, depth + 1) for each in list(value)[:ITEMS_LIMIT]]
    return f"<{type(value).__name__}>"  # its text may hold anything


def _text(text: str, limit: int) -> str:
    if len(text) > limit:
        text = f"{text[:limit]}…"
    return _CONTROL.sub(lambda found: f"\\u{ord(found.group()):04x}", text)
