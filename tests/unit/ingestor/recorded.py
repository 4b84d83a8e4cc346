"""Bodies that the real source sent, byte for byte."""

from __future__ import annotations

import gzip
from datetime import date
from functools import cache
from pathlib import Path
from typing import Any

import orjson

from services.ingestor.lines import Line, LineSplitter
from services.ingestor.pipeline import Reading
from services.ingestor.simtom import CustomerScope, Run
from shared.contracts.transactions import Limits

FOLDER = Path(__file__).parents[2] / "data" / "simtom"
RECORDED_ON = date(2026, 11, 23)
"""The server's day when the bodies were recorded: tenures are counted from it."""

RECORDED_US = 1_795_420_800_000_000
"""2026-11-23T08:00:00Z, just after the last recorded live event."""


@cache
def body(name: str) -> bytes:
    """`history-4-days` (4,813 events), `live-1000` or `outliers-500`."""
    return gzip.decompress((FOLDER / f"simtom-{name}.txt.gz").read_bytes())


@cache
def lines(name: str) -> tuple[Line, ...]:
    return tuple(LineSplitter().feed(body(name)))


def flat_events(name: str) -> list[dict[str, Any]]:
    return [orjson.loads(line.raw.removeprefix(b"data: ")) for line in lines(name)]


def reading(
    run: Run | None = None,
    *,
    scope: CustomerScope = "profile",
    server_day: date = RECORDED_ON,
    received_us: int = RECORDED_US,
    limits: Limits | None = None,
) -> Reading:
    run = run or Run.history("bnpl", date(2026, 6, 1), 20_260_601)
    return Reading(run, scope, limits or Limits(), server_day, received_us)
