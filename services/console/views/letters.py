"""Refused records: how many of which kind, and what is in one, as far as it can be told."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Sequence
from datetime import UTC, datetime

from services.console.queries.query import DAY_S, Row


def totals(rows: Sequence[Row]) -> dict[str, int]:
    """Letters by reason, the most frequent first."""
    found: dict[str, int] = {}
    for row in rows:
        found[row["reason"]] = found.get(row["reason"], 0) + row["letters"]
    return dict(sorted(found.items(), key=lambda item: (-item[1], item[0])))


def by_day(rows: Sequence[Row]) -> dict[str, list[tuple[datetime, int]]]:
    """Reason → its days with how many letters."""
    found: dict[str, list[tuple[datetime, int]]] = {}
    for row in rows:
        found.setdefault(row["reason"], []).append((datetime.fromtimestamp(row["day"] * DAY_S, UTC), row["letters"]))
    return found


def decoded(value_base64: str | None, whole_bytes: int | None) -> str:
    """The refused bytes for people: JSON in lines where it is JSON, else text where it is text, else hex digits."""
    if value_base64 is None:
        return "(no value)"
    try:
        kept = base64.b64decode(value_base64, validate=True)
    except (binascii.Error, ValueError):
        return "(what is kept of it can't be read)"
    cut = "" if whole_bytes in (None, len(kept)) else f"\n… the first {len(kept):,} of {whole_bytes:,} bytes"
    try:
        text = kept.decode()
    except UnicodeDecodeError:
        return kept.hex(" ") + cut
    try:
        return json.dumps(json.loads(text), indent=2, ensure_ascii=False) + cut
    except (ValueError, RecursionError):
        return text + cut
