"""Results of a batch onto Kafka, and not a step further before all of them are acknowledged."""

from __future__ import annotations

import asyncio
import time
from collections import Counter, deque
from collections.abc import Sequence
from typing import Protocol

import structlog

from services.ingestor.pipeline import SERVICE, Accepted, Reading, Record, Refused, letter_of
from services.ingestor.stopping import Stopped, unless_stopped
from shared.kafka.errors import TransientError
from shared.kafka.producer import OutgoingRecord
from shared.telemetry import metrics

log = structlog.get_logger()

STOP_GRACE_S = 5.0
"""For the batch in flight when the stop signal comes; then it is given up, unacknowledged, and comes again."""

SLOW_SECONDS = 3.0
"""An acknowledgement takes milliseconds, an election of another leader a second or two."""

REFUSAL_WINDOW = 1000
REFUSALS_TO_JUDGE = 200
"""Fewer lines than this don't tell a broken source from a bad moment."""


class Sender(Protocol):
    """What is asked of a producer: return only once every record is acknowledged, or raise TransientError."""

    async def send_all(self, records: Sequence[OutgoingRecord]) -> object: ...


class TooManyRefused(Exception):
    """The source is broken, not its lines: it is no longer read, and the dead letters don't fill up with it."""


class RefusedShare:
    """The share of refused lines among the last ones. Pure."""

    def __init__(self, limit: float) -> None:
        self._limit = limit
        self._last: deque[bool] = deque(maxlen=REFUSAL_WINDOW)

    def add(self, refused: bool) -> None:
        self._last.append(refused)

    @property
    def exceeded(self) -> bool:
        return len(self._last) >= REFUSALS_TO_JUDGE and sum(self._last) > self._limit * len(self._last)


class Delivery:
    """Sends results as records. While the brokers are away it waits, nothing more is read, and the source stops."""

    def __init__(self, sender: Sender, *, max_refused_share: float) -> None:
        self._sender = sender
        self._refused = RefusedShare(max_refused_share)
        self._sending_since_s: float | None = None

    @property
    def waiting(self) -> bool:
        """Whether a batch has been without its acknowledgements for long: for the readiness."""
        since = self._sending_since_s
        return since is not None and time.monotonic() - since > SLOW_SECONDS

    async def deliver(self, results: Sequence[Accepted | Refused], reading: Reading, stop: asyncio.Event) -> None:
        """Return once every record of `results` is acknowledged, letters included.

        Raises Stopped where `stop` is set and the brokers don't answer; TooManyRefused after the acknowledgements.
        """
        if not results:
            return
        started = time.perf_counter()
        records: list[Record] = []
        for result in results:
            records.extend(result.records if isinstance(result, Accepted) else (letter_of(result, reading),))
        await self.send(records, stop, reading.received_us // 1000)
        metrics.BATCH_SECONDS.labels(SERVICE).observe(time.perf_counter() - started)
        _count(results, records)
        for result in results:
            self._refused.add(isinstance(result, Refused))
        if self._refused.exceeded:
            raise TooManyRefused(f"more refused lines of {reading.run.source} than INGESTOR__MAX_REFUSED_SHARE allows")

    async def send(self, records: Sequence[Record], stop: asyncio.Event, timestamp_ms: int) -> None:
        """Return once all are acknowledged, however long the brokers are away. Raises Stopped.

        `timestamp_ms`: of the records. Readers judge by it whether an event comes from the future, so it is given, not
        taken from this machine's clock, which may be a wrong one.
        """
        outgoing = [
            OutgoingRecord(record.topic, record.key, record.value, record.headers, timestamp_ms=timestamp_ms)
            for record in records
        ]
        self._sending_since_s = time.monotonic()
        while True:
            try:
                await unless_stopped(stop, self._send(outgoing), grace_s=STOP_GRACE_S)
                self._sending_since_s = None
                return
            except TransientError as error:
                if stop.is_set():
                    raise Stopped from error
                log.warning("waiting_for_brokers", error=str(error), records=len(outgoing))

    async def _send(self, outgoing: Sequence[OutgoingRecord]) -> None:
        await self._sender.send_all(outgoing)


def _count(results: Sequence[Accepted | Refused], records: Sequence[Record]) -> None:
    for topic, count in Counter(record.topic for record in records).items():
        metrics.EVENTS.labels(SERVICE, topic, "acknowledged").inc(count)
    for result in results:
        if isinstance(result, Refused):
            metrics.DEAD_LETTERS.labels(SERVICE, result.rejection.reason.value).inc()
        else:
            for rule in result.warnings:
                metrics.INPUT_WARNINGS.labels(SERVICE, rule.value).inc()
