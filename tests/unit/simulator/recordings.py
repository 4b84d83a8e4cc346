"""The recorded bodies of the real simtom, exactly as it sent them."""

from __future__ import annotations

import gzip
import json
from functools import cache
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parents[2] / "data" / "simtom"

HISTORY, LIVE, OUTLIERS = "simtom-history-4-days", "simtom-live-1000", "simtom-outliers-500"


@cache
def frames(name: str) -> tuple[bytes, ...]:
    """Each with the empty line behind it."""
    body = gzip.decompress((FOLDER / f"{name}.txt.gz").read_bytes())
    return tuple(frame + b"\n\n" for frame in body.split(b"\n\n") if frame)


@cache
def events(name: str) -> tuple[dict[str, Any], ...]:
    return tuple(json.loads(frame.removeprefix(b"data: ")) for frame in frames(name))


@cache
def clean() -> tuple[dict[str, Any], ...]:
    """History and live together: all that carry no noise."""
    return events(HISTORY) + events(LIVE)
