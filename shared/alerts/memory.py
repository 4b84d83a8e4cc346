"""What people have been told, in a file: it outlives a job of a minute, and processes at the same time share it."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import msgspec

from shared.alerts.told import Told
from shared.durable import replace_synced

T = TypeVar("T")

PATIENCE_S = 2.0
"""For the lock, which is held for milliseconds: whoever holds it longer has been stopped, and an alert can't wait."""


class Memory:
    def __init__(self, folder: Path) -> None:
        self._folder, self._file = folder, folder / "told.json"

    def change(self, change: Callable[[Told], T]) -> T:
        """What `change` gives, with what it did to the state kept; one process at a time. Raises OSError."""
        self._folder.mkdir(parents=True, exist_ok=True)
        with self._locked():
            told = self._read()
            before = msgspec.json.encode(told)
            answer = change(told)
            after = msgspec.json.encode(told)
            if after != before:
                replace_synced(self._file, after)
            return answer

    def _read(self) -> Told:
        """Of a file that can't be understood, nothing: an alert too many does less harm than none."""
        try:
            return msgspec.json.decode(self._file.read_bytes(), type=Told)
        except (FileNotFoundError, msgspec.DecodeError, UnicodeDecodeError):
            return Told()

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """A file lock rather than a lock file: it can't outlive a killed holder."""
        descriptor = os.open(self._folder / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        deadline = time.monotonic() + PATIENCE_S
        try:
            while True:
                try:
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if time.monotonic() > deadline:
                        raise
                    time.sleep(0.01)
            yield
        finally:
            os.close(descriptor)
