"""Checkouts at a steady pace, and how each of them ended."""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import pairwise

from flit_risk import FlitRisk, Problem

from tests.load.purchases import Purchase

PATIENCE_S = 10.0
"""Of a call with all of its attempts: what the client waits for by itself."""
SPARE_CALLS = 16


@dataclass
class Calls:
    """Moments are seconds of `time.monotonic`."""

    began: float = 0.0
    ended: float = 0.0
    sent: int = 0
    answered_at: list[float] = field(default_factory=list)
    took_s: list[float] = field(default_factory=list)
    """Of each answered call, with all of its attempts, in the order of the answers."""
    degraded_at: list[float] = field(default_factory=list)
    """When the fallback answered."""
    failed: Counter[str] = field(default_factory=Counter)
    """Calls that were given up, by the reason of the last attempt."""

    @property
    def answered(self) -> int:
        return len(self.took_s)

    @property
    def share(self) -> float:
        return self.answered / self.sent if self.sent else 0.0

    @property
    def worst_gap_s(self) -> float:
        """The longest time in which no call was answered, from the first call to the end."""
        moments = [self.began, *sorted(self.answered_at), self.ended]
        return max(later - earlier for earlier, later in pairwise(moments))

    def percentile_s(self, share: float) -> float:
        ordered = sorted(self.took_s)
        return ordered[min(int(len(ordered) * share), len(ordered) - 1)] if ordered else 0.0


class Caller:
    """`start` … `stop`: between them one call each `1 / rate` seconds, whatever becomes of those before it."""

    def __init__(self, client: FlitRisk, made: Iterator[Purchase], rate: float) -> None:
        self._client, self._made, self._rate = client, made, rate
        self._lock = threading.Lock()
        self._stop = threading.Event()
        # All that can be under way while nothing is answered for a call's whole patience: no call waits for another.
        at_once = int(rate * PATIENCE_S) + SPARE_CALLS
        self._pool = ThreadPoolExecutor(at_once, thread_name_prefix="checkout")
        self._pace = threading.Thread(target=self._send, name="pace", daemon=True)
        self.calls = Calls()

    def start(self) -> None:
        self._pace.start()

    def stop(self) -> Calls:
        """Returns once every call that was sent has ended."""
        self._stop.set()
        self._pace.join()
        self._pool.shutdown()
        self.calls.ended = time.monotonic()
        return self.calls

    def _send(self) -> None:
        began = self.calls.began = time.monotonic()
        while not self._stop.wait(max(0.0, began + self.calls.sent / self._rate - time.monotonic())):
            self.calls.sent += 1
            self._pool.submit(self._call, next(self._made))

    def _call(self, purchase: Purchase) -> None:
        began = time.monotonic()
        try:
            decision = self._client.decide(json.loads(purchase.body), idempotency_key=purchase.id)
        except Problem as problem:
            with self._lock:
                self.calls.failed[problem.reason or str(problem.status)] += 1
            return
        now = time.monotonic()
        with self._lock:
            if decision.event_id != purchase.id:
                self.calls.failed["another purchase's decision"] += 1
                return
            self.calls.answered_at.append(now)
            self.calls.took_s.append(now - began)
            if decision.degraded is not None:
                self.calls.degraded_at.append(now)
