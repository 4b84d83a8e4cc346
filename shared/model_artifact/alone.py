"""What only one process of this machine may be at: a training, say."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class Busy(Exception):
    """Somebody else is at it."""

    def __init__(self, work: str) -> None:
        super().__init__(f"another {work} is under way")


@contextmanager
def alone(path: Path, work: str) -> Iterator[None]:
    """While it lasts, no other process of this machine is at this work. Raises Busy. The kernel takes the lock
    back when its holder dies."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Busy(work) from None
        yield
    finally:
        os.close(descriptor)
