"""Checkouts and producers of events for locust, which `make load` starts; also on its own, from the repository's root:

    PYTHONPATH=. LOAD_SHAPE=peak LOAD_KEY=… locust -f tests/load/locustfile.py --headless --host http://…

LOAD_SHAPE, LOAD_MINUTES   one of tests/load/shapes.py, and for how long
LOAD_CHECKOUTS             calls a second at the shape's base
LOAD_EVENTS, LOAD_KAFKA    records a second at the base, and the brokers; none without them
LOAD_KEY                   API key
LOAD_SUMMARY               file to write what the clients saw to

A user makes one purchase a second, at moments that no answer moves: how long one took counts from when it was due, and
who was kept waiting asks for what fell due meanwhile without a pause. A client that has too little of the processor is
late as well: that counts, too.
"""

from __future__ import annotations

import json
import math
import os
import random
import subprocess
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gevent
import gevent.subprocess
from gevent.event import AsyncResult
from gevent.lock import BoundedSemaphore
from locust import FastHttpUser, LoadTestShape, User, events, task
from locust.env import Environment

from tests.load.beats import Beats
from tests.load.publisher import OK, answer_of, line_of
from tests.load.purchases import Purchase, Purchases
from tests.load.seen import ACKNOWLEDGED_IN_S, CHECKOUT, PUBLISH, Seen, objective
from tests.load.shapes import SHAPES, Rates

SHAPE = SHAPES[os.environ.get("LOAD_SHAPE", "steady")]
WHOLE_S = float(os.environ.get("LOAD_MINUTES") or SHAPE.minutes) * 60
KAFKA = os.environ.get("LOAD_KAFKA", "")
BASE = Rates(int(os.environ.get("LOAD_CHECKOUTS", "12")), int(os.environ.get("LOAD_EVENTS", "0")) if KAFKA else 0)
KEY = os.environ.get("LOAD_KEY", "")

PATIENCE_S = 30.0
"""For one answer, of either door: nobody at a checkout waits for so long."""
STARTED_A_SECOND = 100
"""Users; beyond it locust itself falls behind."""

made = Purchases()


times_ms: defaultdict[str, Counter[float]] = defaultdict(Counter)
"""By what was asked, from when it was due. Locust's own are rounded to two digits, so that 104 ms count as 100."""
missed: Counter[str] = Counter()
"""That were due, and nobody came to ask."""


class OnceASecond:
    """A user's beat, from a moment of its own on. With locust's `constant_throughput` the second call comes a second
    after the user was made, whenever the first came: those that were made together ask together from then on."""

    asks: str
    """What is counted as missed where it doesn't come to it."""
    allowed_s: float
    """For one, from when it is due."""

    _beats: Beats | None = None
    _told_to_stop_s: float | None = None

    def on_start(self) -> None:
        gevent.sleep(random.random())
        self._beats = Beats(time.perf_counter())

    def wait_time(self) -> float:
        assert self._beats is not None
        return self._beats.wait_s(time.perf_counter())

    def done_ms(self) -> float:
        """The purchase that was due is over."""
        assert self._beats is not None
        return self._beats.done(time.perf_counter()) * 1000

    def stop(self, force: bool = False) -> bool:
        if self._told_to_stop_s is None:
            self._told_to_stop_s = time.perf_counter()
        stopped: bool = super().stop(force)  # type: ignore[misc]
        return stopped

    def on_stop(self) -> None:
        """Its last purchase is over by now; what was due before it was told to stop was to be asked all the same."""
        if self._beats is None or self._told_to_stop_s is None:
            return
        for waited_s in self._beats.missed(self._told_to_stop_s, self.allowed_s):
            times_ms[self.asks][math.ceil(waited_s * 1000)] += 1
            missed[self.asks] += 1


class Checkout(OnceASecond, FastHttpUser):  # type: ignore[misc]
    """A shop's server: keeps its connection, sends a key of its own with each purchase, and never asks twice."""

    weight = max(1, BASE.checkouts)
    asks, allowed_s = CHECKOUT, objective("CheckoutSlow").bound_s
    network_timeout = connection_timeout = PATIENCE_S

    @task
    def decide(self) -> None:
        purchase = next(made)
        headers = {"Content-Type": "application/json", "Idempotency-Key": purchase.id}
        if KEY:
            headers["Authorization"] = f"Bearer {KEY}"
        asked = self.client.post(
            "/v1/decisions", data=purchase.body, headers=headers, name=CHECKOUT, catch_response=True
        )
        asked.request_meta["response_time"] = self.done_ms()
        with asked as answer:
            if answer.status_code != 200:
                answer.failure(f"{answer.status_code} {answer.text or ''}"[:200])
            elif answer.json()["event_id"] != purchase.id:
                answer.failure("the answer is another purchase's")


class Publisher:
    """The process that has the connection to Kafka; greenlets wait here for their record's acknowledgement."""

    def __init__(self, bootstrap_servers: str) -> None:
        self._process = gevent.subprocess.Popen(
            [sys.executable, "-m", "tests.load.publisher", bootstrap_servers],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        self._waiting: dict[str, AsyncResult] = {}
        # A greenlet that waits for room in the pipe is in the midst of the file's own write.
        self._one_writes = BoundedSemaphore()
        gevent.spawn(self._read)

    def publish(self, purchase: Purchase) -> str:
        """What became of it. Raises gevent.Timeout."""
        self._waiting[purchase.id] = AsyncResult()
        try:
            with self._one_writes:
                self._process.stdin.write(line_of(purchase.id, purchase.customer, purchase.body))
                self._process.stdin.flush()
            return str(self._waiting[purchase.id].get(timeout=PATIENCE_S))
        finally:
            del self._waiting[purchase.id]

    def _read(self) -> None:
        for line in self._lines():
            record_id, outcome = answer_of(line)
            if record_id in self._waiting:
                self._waiting[record_id].set(outcome)

    def _lines(self) -> Iterator[bytes]:
        while line := self._process.stdout.readline():
            yield line

    def close(self) -> None:
        self._process.stdin.close()
        self._process.wait()


publishers: list[Publisher] = []
"""The one, while a test runs."""


class Producer(OnceASecond, User):  # type: ignore[misc]
    """A shop's producer of events: one record a second, acknowledged by all replicas."""

    abstract = BASE.events == 0
    weight = max(1, BASE.events)
    asks, allowed_s = PUBLISH, ACKNOWLEDGED_IN_S

    @task
    def publish(self) -> None:
        purchase, error = next(made), None
        try:
            if (outcome := publishers[0].publish(purchase)) != OK:
                error = RuntimeError(outcome)
        except (gevent.Timeout, OSError) as trouble:
            error = RuntimeError(repr(trouble))
        self.environment.events.request.fire(
            request_type="Kafka",
            name=PUBLISH,
            response_time=self.done_ms(),
            response_length=len(purchase.body),
            exception=error,
            context={},
        )


class Shaped(LoadTestShape):  # type: ignore[misc]
    """As many users as there have to be purchases a second."""

    def tick(self) -> tuple[int, float] | None:
        t_s = self.get_run_time()
        if t_s >= WHOLE_S:
            return None
        wanted = BASE.times(SHAPE.factor(t_s, WHOLE_S)).together
        return max(1, wanted), STARTED_A_SECOND


@events.test_start.add_listener
def connect(**_: Any) -> None:
    if BASE.events:
        publishers.append(Publisher(KAFKA))


@events.request.add_listener
def took(name: str, response_time: float, **_: Any) -> None:
    times_ms[name][math.ceil(response_time)] += 1


@events.quitting.add_listener
def tell(environment: Environment, **_: Any) -> None:
    """Leave what the clients saw; the exit status says whether the checkout's objectives were kept by it."""
    for publisher in publishers:
        publisher.close()
    entries = {entry.name: entry for entry in environment.stats.entries.values()}
    seen = [
        Seen(name, entry.num_requests, entry.num_failures, times_ms[name], missed[name])
        for name, entry in entries.items()
    ] + [Seen(name, 0, 0, times_ms[name], missed[name]) for name in missed if name not in entries]
    if path := os.environ.get("LOAD_SUMMARY"):
        Path(path).write_text(json.dumps([each.as_json() for each in seen]))
    checkouts = [each for each in seen if each.name == CHECKOUT]
    environment.process_exit_code = 0 if checkouts and all(each.held for each in checkouts[0].kept()) else 1
