"""Tells when an event loop stands still, from outside of it: whoever watches from within stands still with it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable

STUCK_AFTER_S = 120.0
"""Nothing that a service does without giving way takes a tenth of it, on a busy machine either."""
LOOK_S = 5.0


class Pulse:
    """The loop beats; a thread looks whether it still does, and counts looks, not time: a process that was halted as a
    whole (SIGSTOP, a machine that sleeps) has not looked meanwhile either."""

    def __init__(self, *, stuck_after_s: float = STUCK_AFTER_S, look_s: float = LOOK_S) -> None:
        self._look_s = look_s
        self._most = max(2, round(stuck_after_s / look_s))
        self._beats = self._seen = self._missed = 0
        self._ended = threading.Event()

    async def beat(self) -> None:
        """Until it is cancelled."""
        while True:
            self._beats += 1
            await asyncio.sleep(self._look_s / 2)

    def watch(self, end: Callable[[], None]) -> None:
        """Start to look. `end`: called once, in the thread that looks, where the loop stands still."""
        threading.Thread(target=self._watch, args=(end,), name="pulse", daemon=True).start()

    def stop(self) -> None:
        """Look no more."""
        self._ended.set()

    def look(self) -> bool:
        """Whether the loop has beaten since it was last found to, or not for long enough."""
        self._missed = 0 if self._beats != self._seen else self._missed + 1
        self._seen = self._beats
        return self._missed < self._most

    def _watch(self, end: Callable[[], None]) -> None:
        while not self._ended.wait(self._look_s):
            if not self.look():
                end()
                return
