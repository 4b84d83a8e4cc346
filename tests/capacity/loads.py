"""Loads that a running system is put under, and what its processes used up meanwhile.

A paced one is driven by locust and measured while it is level. Full batches come from a backlog that is published at
once, and the door at its limit from connections that always ask.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import orjson

from shared.contracts.identity import from_epoch_micros
from shared.contracts.topics import OUTCOMES
from tests.bench.load import Answers, pack
from tests.capacity.watching import Moment, Span, between, moment
from tests.load.driving import Target, drive
from tests.load.purchases import Purchase, Purchases
from tests.load.running import LoadedSystem
from tests.load.shapes import Rates

IDLE_S, PACED_S, ASKED_S = 30.0, 45.0, 15.0
LEVEL_AFTER_S = 15.0
"""Of a paced run: locust has started by then, and all of its users."""
LEVEL = 0.8
"""Of the load that was meant: with less of it, something else on the machine was measured."""
CONNECTIONS = 16
MOST_PER_SECOND = 3000
"""The door answers no more on one core: enough for the client to ask."""
CLIENT_S = 120.0
"""For that client to read its requests and to write down the answers."""


@dataclass(frozen=True)
class Loads:
    loaded: LoadedSystem
    folder: Path
    """For what the clients leave."""

    def paced(self, rates: Rates, seconds: float = PACED_S) -> Span:
        """`seconds`: of the level part. Raises RuntimeError where there was none."""
        taken: list[Moment] = []
        looks_at = (LEVEL_AFTER_S, LEVEL_AFTER_S + seconds)

        def tick(passed_s: float) -> None:
            if len(taken) < 2 and passed_s >= looks_at[len(taken)]:
                taken.append(moment(self.loaded))

        target = Target(self.loaded.url, self.loaded.key, self.loaded.kafka)
        drive(target, "steady", rates, LEVEL_AFTER_S + seconds, self.folder / "paced", tick)
        if len(taken) < 2:
            raise RuntimeError(f"the load ended before {looks_at[1]:.0f} s")
        asyncio.run(self.loaded.settled())
        span = between(*taken)
        if span.purchase_rate < LEVEL * rates.together:
            raise RuntimeError(
                f"{span.purchase_rate:.0f} purchases/s in place of {rates.together}: the machine is too busy"
            )
        return span

    def idle(self, seconds: float = IDLE_S) -> Span:
        before = moment(self.loaded)
        time.sleep(seconds)
        return between(before, moment(self.loaded))

    def backlog(self, made: Sequence[Purchase]) -> Span:
        """Published at once; until all of it is decided and in the warehouse."""
        before = moment(self.loaded)
        asyncio.run(self.loaded.publish(made))
        asyncio.run(self.loaded.settled())
        return between(before, moment(self.loaded))

    def outcomes(self, made: Sequence[Purchase]) -> Span:
        """One of each purchase, at once."""
        observed_at = from_epoch_micros(int(time.time() * 1_000_000))
        records = [(each.customer.encode(), orjson.dumps(repaid(each, observed_at))) for each in made]
        before = moment(self.loaded)
        asyncio.run(self.loaded.produce(OUTCOMES.name, records))
        asyncio.run(self.loaded.settled())
        return between(before, moment(self.loaded))

    def asked(self, made: Purchases, seconds: float = ASKED_S) -> Span:
        """Sixteen connections, each asking again as soon as it is answered."""
        requests = [self._request(next(made)) for _ in range(int(MOST_PER_SECOND * seconds))]
        path, told = pack(requests, self.folder / "requests"), self.folder / "answers"
        given = (self.loaded.url.rpartition(":")[2], path, told, CONNECTIONS, seconds)
        before = moment(self.loaded)
        subprocess.run(
            [sys.executable, "-m", "tests.bench.load", *map(str, given)], check=True, timeout=seconds + CLIENT_S
        )
        after = moment(self.loaded)
        answers = Answers(**orjson.loads(told.read_bytes()))
        if set(answers.statuses) != {200} or answers.exhausted:
            raise RuntimeError(f"not what a door at its limit answers: {answers.statuses}")
        asyncio.run(self.loaded.settled())
        return between(before, after)

    def _request(self, purchase: Purchase) -> bytes:
        head = (
            "POST /v1/decisions HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
            f"Authorization: Bearer {self.loaded.key}\r\nIdempotency-Key: {purchase.id}\r\n"
            f"Content-Length: {len(purchase.body)}\r\n\r\n"
        )
        return head.encode() + purchase.body


def repaid(purchase: Purchase, observed_at: str) -> dict[str, object]:
    """The outcome of a purchase that was paid back."""
    return {
        "event_id": purchase.id,
        "customer_id": purchase.customer,
        "defaulted": False,
        "days_to_first_missed_payment": None,
        "observed_at": observed_at,
    }
