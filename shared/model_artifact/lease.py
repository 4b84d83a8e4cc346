"""What only one process of all that share a bucket may be at: an object that is there while the work lasts."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any

from google.api_core.exceptions import NotFound, PreconditionFailed

from shared.google_errors import AWAY
from shared.model_artifact.alone import Busy
from shared.model_artifact.conditional import NEW, RETRY, TIMEOUT_S, write_where

LEASE = timedelta(minutes=3)
"""An object that has not been renewed for so long was left by somebody who died. Longer than a line is down while its
owner works on, shorter than anybody wants to wait for the next training."""


class Lease:
    """Ours from `take` on; renewed by a thread while in `with`, and given back at its end.

    Whoever was held up for longer than the lease may have been taken for dead: what is done under it must do no harm
    done twice, and be wasteful at most.
    """

    def __init__(self, blob: Callable[[], Any], mine: bytes, generation: int, work: str, lasts: timedelta) -> None:
        """`mine`: what the object holds as long as it is ours."""
        self._blob, self._mine, self._generation = blob, mine, generation
        self._ended = threading.Event()
        self._every_s = lasts.total_seconds() / 4
        self._keeper = threading.Thread(target=self._keep, name=f"lease-{work}", daemon=True)

    @classmethod
    def take(cls, blob: Callable[[], Any], work: str, lasts: timedelta = LEASE) -> Lease:
        """`blob`: makes a handle of the object. Raises Busy, and what Google's client raises."""
        there, held = blob(), NEW
        try:
            there.reload(timeout=TIMEOUT_S, retry=RETRY)
        except NotFound:
            pass
        else:
            if datetime.now(UTC) - there.updated < lasts:
                raise Busy(work)
            held = int(there.generation)
        mine = uuid.uuid4().hex.encode()
        try:
            return cls(blob, mine, write_where(blob, mine, held), work, lasts)
        except PreconditionFailed:
            raise Busy(work) from None

    def __enter__(self) -> Lease:
        self._keeper.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._keeper.join()
        with suppress(*AWAY):  # else it runs out by itself
            self._blob().delete(if_generation_match=self._generation, timeout=TIMEOUT_S)

    def _keep(self) -> None:
        while not self._ended.wait(self._every_s):
            try:
                self._generation = write_where(self._blob, self._mine, self._generation)
            except PreconditionFailed:
                return  # we were taken for dead
            except AWAY:
                continue  # renewed the next time, if that is in time
