"""Days of history as files, between whoever reads a source and whoever loads a warehouse. Knows no client.

    <folder>/<run>/run.json                where the reading stood at its very beginning
    <folder>/<run>/2026-06-01.ndjson.zst   the records of everything up to the end of that day, since the file before
    <folder>/<run>/2026-06-01.json         its seal: counts, checksum, where the reading stood; without one it is none

A line is a record as a producer would send it to Kafka: {"topic", "timestamp_ms", "key", "headers", "value"}, the value
being the very bytes. A sealed day never changes, so that whoever has loaded it once has loaded it.
"""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cramjam
import msgspec

from shared.durable import replace_synced, sync_folder

RECORDS, SEAL, RUN = ".ndjson.zst", ".json", "run.json"
FRAME_BYTES = 4 * 2**20
"""Compressed at once: what is in memory of a day that is being written."""


class ArchiveDamaged(Exception):
    """A file isn't what its seal says. The day has to be read from the source again: remove it and all after it."""


class ArchivedRecord(msgspec.Struct, frozen=True):
    """A record that no broker has seen."""

    topic: str
    timestamp_ms: int
    key: str | None
    headers: list[tuple[str, str]]
    value: msgspec.Raw


class Seal(msgspec.Struct, frozen=True):
    """What is known of a whole day."""

    source: str
    records: dict[str, int]
    """Topic → how many."""
    sha256: str
    """Of the file as it lies there."""
    state: dict[str, str]
    """Where the reading stood after it, in the words of who read."""


class _Run(msgspec.Struct, frozen=True):
    source: str
    state: dict[str, str]


@dataclass(frozen=True, slots=True)
class Day:
    """A sealed day."""

    folder: Path
    name: str
    """Its date, such as 2026-06-01."""
    seal: Seal

    @property
    def load_id(self) -> str:
        """Names the day in every row that comes from it."""
        return f"{self.seal.source}#{self.name}"

    def records(self) -> Iterator[ArchivedRecord]:
        """In the order in which they were written. Raises ArchiveDamaged, before the first of them."""
        data = (self.folder / f"{self.name}{RECORDS}").read_bytes()
        if hashlib.sha256(data).hexdigest() != self.seal.sha256:
            raise ArchiveDamaged(f"{self.folder / self.name}{RECORDS} is not what was sealed")
        return map(_decoder.decode, bytes(cramjam.zstd.decompress(data)).splitlines())


class RunArchive:
    """The days of one run of a source: read by anybody, written by one process."""

    def __init__(self, folder: Path, source: str) -> None:
        """`folder`: of all runs."""
        self.folder = folder / source.replace("/", "_")
        self._source = source
        self._writing: _Writing | None = None

    def state(self) -> dict[str, str]:
        """Where the reading stood when the last day was sealed; empty: it never began. What is not sealed is let go:
        it will come again."""
        self._writing = None
        for left in self.folder.glob(f"{_Writing.PREFIX}*"):
            left.unlink()
        days = days_of(self.folder)
        if days:
            return days[-1].seal.state
        run = self.folder / RUN
        return _runs.decode(run.read_bytes()).state if run.exists() else {}

    def begin(self, state: dict[str, str]) -> None:
        """Note where the reading stands before its first record."""
        self.folder.mkdir(parents=True, exist_ok=True)
        replace_synced(self.folder / RUN, msgspec.json.encode(_Run(self._source, state)))

    def add(self, records: Sequence[ArchivedRecord]) -> None:
        """To the day that is next to be sealed."""
        if self._writing is None:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._writing = _Writing(self.folder)
        self._writing.add(records)

    def seal(self, name: str, state: dict[str, str]) -> None:
        """Close the day in hand under this name, durably. Later records belong to the next one."""
        writing = self._writing or _Writing(self.folder)
        self._writing = None
        records, digest = writing.finish(self.folder / f"{name}{RECORDS}")
        seal = Seal(self._source, records, digest, state)
        replace_synced(self.folder / f"{name}{SEAL}", msgspec.json.encode(seal))


def runs_of(folder: Path) -> list[Path]:
    """The folders of runs that have begun."""
    return sorted(path.parent for path in folder.glob(f"*/{RUN}"))


def days_of(run: Path) -> list[Day]:
    """The sealed days of a run's folder, in order."""
    names = sorted(path.name.removesuffix(RECORDS) for path in run.glob(f"*{RECORDS}"))
    seals = [(name, run / f"{name}{SEAL}") for name in names]
    return [Day(run, name, _seals.decode(path.read_bytes())) for name, path in seals if path.exists()]


class _Writing:
    """A day's file before it has a name."""

    PREFIX = ".writing-"

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._path = folder / f"{self.PREFIX}{os.urandom(4).hex()}"
        self._file = self._path.open("xb")
        self._digest = hashlib.sha256()
        self._lines: list[bytes] = []
        self._held = 0
        self._counts: Counter[str] = Counter()

    def add(self, records: Sequence[ArchivedRecord]) -> None:
        for record in records:
            line = _encoder.encode(record)
            self._lines.append(line)
            self._held += len(line) + 1
            self._counts[record.topic] += 1
        if self._held >= FRAME_BYTES:
            self._flush()

    def finish(self, path: Path) -> tuple[dict[str, int], str]:
        self._flush()
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        self._path.rename(path)
        sync_folder(path.parent)
        return dict(self._counts), self._digest.hexdigest()

    def _flush(self) -> None:
        # Frames after one another are one stream. A day without a record is an empty frame, not an empty file.
        frame = bytes(cramjam.zstd.compress(b"".join(line + b"\n" for line in self._lines)))
        self._digest.update(frame)
        self._file.write(frame)
        self._lines, self._held = [], 0


_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(ArchivedRecord)
_seals = msgspec.json.Decoder(Seal)
_runs = msgspec.json.Decoder(_Run)
