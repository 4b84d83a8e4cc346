"""What a start does, in words, for those who wait for it."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

RENEW_SECONDS = 1.0


@contextlib.contextmanager
def told_in(file: Path, renew_seconds: float = RENEW_SECONDS) -> Iterator[Callable[[str], None]]:
    """Gives what writes words into the file, from any thread. Between them the file is touched: a step that has nothing
    new to tell, and time left by its own limit, doesn't look like one that nobody does any more. In the end the file is
    gone."""
    ended, writing = threading.Event(), threading.Lock()

    def say(words: str) -> None:
        with writing:
            file.write_text(words)

    def renew() -> None:
        while not ended.wait(renew_seconds):
            with contextlib.suppress(FileNotFoundError):  # nothing is said yet
                os.utime(file)

    renewing = threading.Thread(target=renew, name="telling", daemon=True)
    renewing.start()
    try:
        yield say
    finally:
        ended.set()
        renewing.join()
        file.unlink(missing_ok=True)
