"""What was measured: one file, written by `make capacity`, which everything else here follows from."""

from __future__ import annotations

from pathlib import Path

import msgspec

MEASURED = Path(__file__).with_name("measured.json")

Point = tuple[float, float]


class Process(msgspec.Struct, frozen=True, kw_only=True):
    """One process of a part. CPU in seconds of one core for each second, beyond `idle_cpu`."""

    idle_cpu: float
    stream: tuple[Point, ...]
    """(purchases a second over both doors, CPU), rising."""
    door: tuple[Point, ...]
    """(checkouts a second, CPU beyond that of the same purchases on the stream), rising."""
    stream_full_s: float
    """CPU seconds of a purchase where there are always more to take: what is left once batches are full."""
    door_full_s: float
    """The same of a checkout, where sixteen always ask."""
    outcome_full_s: float
    """The same of an outcome."""
    resident_mb: float
    """The most that it held."""


class Figures(msgspec.Struct, frozen=True, kw_only=True):
    measured_at: str
    machine: str
    """Processor and number of cores, which the load's clients shared."""
    partitions: int
    """Of each topic, all read by one process of each service."""
    processes: dict[str, Process]
    """features, scorer, sink; kafka and valkey."""
    record_bytes: dict[str, float]
    """By topic: of a record in the broker's log, one replica."""
    state_bytes: tuple[Point, ...]
    """(purchases that a customer has made in four weeks, bytes of Redis for the states of that customer), rising."""
    claim_bytes: float
    """Of Redis, for each decision."""
    idempotency_bytes: float
    """Of Redis, for each key that a checkout sent."""
    row_bytes: dict[str, float]
    """By table, in Arrow: close to what BigQuery calls logical bytes."""


def read(path: Path = MEASURED) -> Figures | None:
    """None where nothing was measured yet."""
    return msgspec.json.decode(path.read_bytes(), type=Figures) if path.exists() else None


def write(figures: Figures, path: Path = MEASURED) -> None:
    path.write_bytes(msgspec.json.format(msgspec.json.encode(figures), indent=2) + b"\n")
