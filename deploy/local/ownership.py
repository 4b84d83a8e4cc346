"""Who runs the stack of a folder: one process at a time, by a lock that the kernel takes back when its holder dies.

A number in a file would do for as long as nobody ends by `kill -9` and no machine starts anew: then it is another's.
"""

from __future__ import annotations

import fcntl
import os
import time
from pathlib import Path
from types import TracebackType
from typing import Self

from deploy.local.processes import StartFailed

TRIES = 25
PAUSE_SECONDS = 0.02
"""Whoever asks for the owner holds the lock for a moment, and who takes it has its number written a moment later."""


class Owned(StartFailed):
    """Another process runs what keeps its data in the folder, or starts it."""

    def __init__(self, data_dir: Path, pid: str) -> None:
        super().__init__("something", f"already runs in {data_dir}, as process {pid}")


class Ownership:
    """Held until it is closed, or the process ends. Use as a context manager."""

    def __init__(self, descriptor: int) -> None:
        """Of a lock that another process has taken and hands over by this descriptor."""
        os.set_inheritable(descriptor, False)
        self.descriptor = descriptor

    @classmethod
    def take(cls, data_dir: Path) -> Self:
        """For this process. Raises Owned."""
        file = lock_file(data_dir)
        file.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        for _ in range(TRIES):
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                time.sleep(PAUSE_SECONDS)
                continue
            taken = cls(descriptor)
            taken.is_of(os.getpid())
            return taken
        written = os.pread(descriptor, 32, 0).decode()
        os.close(descriptor)
        raise Owned(data_dir, written)

    def is_of(self, pid: int) -> None:
        """From now on that process is named: a child that was given the descriptor, say."""
        os.truncate(self.descriptor, 0)
        os.pwrite(self.descriptor, str(pid).encode(), 0)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """The lock is free then, unless a child has it too."""
        os.close(self.descriptor)


def owner(data_dir: Path) -> int | None:
    """Process id of who runs or starts the stack of this folder; None where nobody does, whatever files say."""
    try:
        descriptor = os.open(lock_file(data_dir), os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        for _ in range(TRIES):
            try:
                fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                if written := os.pread(descriptor, 32, 0):
                    return int(written)
                time.sleep(PAUSE_SECONDS)
            else:
                return None
    finally:
        os.close(descriptor)
    return None


def lock_file(data_dir: Path) -> Path:
    """Beside the folder, whatever way leads there: in it, a wiping would take the lock away from under its holder."""
    folder = data_dir.resolve()
    return folder.parent / f"{folder.name}.lock"
