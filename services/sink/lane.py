"""One topic partition on its way into the warehouse, apart from all others: a slow table holds up only its own."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import structlog

from services.sink.bigquery import PartitionWriter, StreamLost
from services.sink.gate import Gate
from services.sink.metrics import VISIBLE_SECONDS
from services.sink.pipeline import Built, Rules, build, kafka_us
from services.sink.refused import NOBODY
from shared.contracts.log import StampedRecord, size_of
from shared.kafka.errors import GaveUp
from shared.telemetry.metrics import BATCH_SECONDS, EVENTS
from shared.telemetry.process import patiently
from shared.telemetry.tracing import OFF, Tracing

log = structlog.get_logger()

SERVICE = "sink"

GATE_POLL_S = 0.1
"""How often the features' position is asked for while records wait for it; adds to the time until a row is visible."""

REOPEN_PAUSE_S = 0.5
"""Between the loss of a stream and its successor, so that two processes at odds don't spin."""


class LogMismatch(GaveUp):
    """The warehouse holds rows of another log: beyond the end of the topic, or of another record at an offset. The way
    out: services/sink/README.md."""


@dataclass(frozen=True, slots=True)
class Batching:
    """When records are sent: see `SinkSection`."""

    linger_s: float
    max_rows: int
    buffer_bytes: int


class Lane:
    """Takes the records of one partition, in order, and writes them.

    `done` moves only over records whose rows are acknowledged in every table of the topic (or that have none). What
    the warehouse holds decides where a lane begins, not what was committed: so rows that were written and not
    committed aren't written again, and rows that the warehouse lost come again.
    """

    def __init__(
        self,
        topic: str,
        partition: int,
        writers: Sequence[PartitionWriter],
        rules: Rules,
        batching: Batching,
        threads: ThreadPoolExecutor,
        end_of_log: Callable[[], Awaitable[int]],
        gate: Gate | None = None,
        tracing: Tracing = OFF,
    ) -> None:
        """`end_of_log`: the offset that the next record of the partition will get; may raise TransientError."""
        self.topic, self.partition = topic, partition
        self._writers = writers
        self._rules = rules
        self._batching = batching
        self._threads = threads
        self._end_of_log = end_of_log
        self._gate = gate
        self._tracing = tracing
        self._buffer: deque[StampedRecord] = deque()
        self._bytes = 0
        self._oldest_at = 0.0
        self._next_offset = 0
        self._last_rows: dict[int, tuple[str, int]] = {}
        """Offset of a table's last row: the table, and when the row says that its record came to Kafka. Until the
        record itself, or a later one, was seen."""
        self._refused_before = NOBODY
        """Of what is to be written, who had a letter when the lane was opened."""
        self._end = 0
        """Where the log ended when the lane was opened."""
        self._mismatched = False
        self._wake = asyncio.Event()
        self._closing = asyncio.Event()
        self.seek_to: int | None = None
        """Where reading has to begin; the reader takes it and sets it back to None."""
        self._awaits_verdict = False
        self.opened = False
        self.done: int | None = None
        """The offset that all is settled below, as far as this log is the one that the warehouse has rows of."""
        self._task = asyncio.create_task(self._run(), name=f"lane-{topic}-{partition}")

    def offer(self, records: Sequence[StampedRecord]) -> None:
        """Take records; those that come from before a new beginning are passed over. Raises LogMismatch."""
        if not self.opened or self.seek_to is not None:
            return
        if not self._buffer:
            self._oldest_at = time.monotonic()
        for record in records:
            if self._last_rows:
                self._compare(record)
            if record.offset >= self._next_offset:
                self._buffer.append(record)
                self._bytes += _size(record)
                self._next_offset = record.offset + 1
        self._wake.set()

    @property
    def committable(self) -> int | None:
        """`done`, once the records of the tables' last rows were compared. Committed before, a log that was made anew
        would count as written as far as the rows of the old one reach, and a repair would take them for its."""
        return None if self._last_rows or self._mismatched else self.done

    @property
    def full(self) -> bool:
        """Whether reading should pause."""
        return not self.opened or self._bytes >= self._batching.buffer_bytes

    @property
    def held_up(self) -> bool:
        """Whether standing still is right: the warehouse, or the verdict on the next record, is what it waits for."""
        return not self.opened or self._awaits_verdict or any(writer.failing for writer in self._writers)

    def raise_if_failed(self) -> None:
        """Raise what ended the lane, if something did: FencedOff, LogMismatch, or an error of ours."""
        if self._task.done() and not self._task.cancelled():
            self._task.result()

    async def close(self, grace_s: float) -> None:
        """Finish the batch in hand if that takes no longer than `grace_s`; leave the rest. Raises nothing."""
        self._closing.set()
        self._wake.set()
        await asyncio.wait({self._task}, timeout=grace_s)
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        for writer in self._writers:
            writer.leave()

    async def _run(self) -> None:
        while not self._closing.is_set():
            try:
                await patiently(self._open, self._closing)
                while not self._closing.is_set():
                    await self._turn()
            except StreamLost as lost:
                log.warning("stream_lost", topic=self.topic, partition=self.partition, reason=str(lost))
                self.opened = False
                await self._pause(REOPEN_PAUSE_S)

    async def _open(self) -> None:
        """Take over, and begin after what all tables hold; read from the last record that all hold, to see that it is
        the one. Raises TransientError, LogMismatch."""
        highest = [await writer.open() for writer in self._writers]
        self._end = await self._end_of_log()
        if max(highest) >= self._end:
            self._mismatched = True
            raise LogMismatch(
                f"the warehouse holds offset {max(highest)} of {self.topic}-{self.partition}, which ends at "
                f"{self._end}: it belongs to another Kafka, or that one was made anew, services/sink/README.md"
            )
        if self._gate is not None:
            self._refused_before = await self._gate.refused_before(min(highest) + 1)
        self._buffer.clear()
        self._bytes = 0
        self._last_rows = {
            offset: (writer.table.id, writer.last_arrived_us)
            for offset, writer in zip(highest, self._writers, strict=True)
            if writer.last_arrived_us is not None
        }
        self.done = self._next_offset = min(highest) + 1
        self.seek_to = max(0, min(highest))
        self.opened = True

    def _compare(self, record: StampedRecord) -> None:
        """A log that lost its end and grew again beyond it has other records at the offsets that rows are of. What
        retention has taken by now never comes, and isn't missed once a later record has come."""
        for offset in [each for each in self._last_rows if each <= record.offset]:
            table, arrived_us = self._last_rows.pop(offset)
            if offset == record.offset and arrived_us != kafka_us(record):
                self._mismatched = True
                raise LogMismatch(
                    f"offset {offset} of {self.topic}-{self.partition}, which ended at {self._end}, came to Kafka at "
                    f"{kafka_us(record)} us, its row in {table} says {arrived_us}: the log lost its end or was made "
                    "anew, services/sink/README.md"
                )

    async def _turn(self) -> None:
        """Write one batch, or find that there is none to write."""
        count = await self._ripe()
        if not count:
            return
        records = [self._buffer[index] for index in range(count)]
        refused = await self._refused(records)
        if refused is None:
            return
        started, started_ns = time.perf_counter(), time.time_ns()
        built = await self._build(records, refused)
        gate = self._gate
        if gate is not None and gate.has_letters and built.by_our_limits:
            # Our limits may be others than those that it was judged by.
            self._awaits_verdict = True
            lettered = await patiently(lambda: gate.by_letters(records), self._closing)
            self._awaits_verdict = False
            if lettered is None:
                return
            accepted = frozenset(built.by_our_limits) - lettered
            built = await self._build(records, refused, accepted)
        answers = await asyncio.gather(
            *(writer.append(built.rows[writer.table]) for writer in self._writers), return_exceptions=True
        )
        for answer in answers:
            if isinstance(answer, BaseException):
                raise answer
        self._settle(records, built)
        self._tracing.processed(records, started_ns)
        BATCH_SECONDS.labels(SERVICE).observe(time.perf_counter() - started)

    async def _build(
        self, records: Sequence[StampedRecord], refused: frozenset[int], accepted: frozenset[int] = frozenset()
    ) -> Built:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, build, self.topic, records, self._rules, refused, accepted)

    async def _refused(self, records: Sequence[StampedRecord]) -> frozenset[int] | None:
        """None where the lane was closed meanwhile."""
        gate = self._gate
        if gate is None:
            return frozenset()
        refused = await patiently(lambda: gate.refused(records), self._closing)
        self._awaits_verdict = False
        return None if refused is None else refused | self._refused_before.among(records)

    def _settle(self, records: Sequence[StampedRecord], built: Built) -> None:
        for record in records:
            self._buffer.popleft()
            self._bytes -= _size(record)
        self._oldest_at = time.monotonic()
        self.done = records[-1].offset + 1
        EVENTS.labels(SERVICE, self.topic, "ok").inc(built.written)
        EVENTS.labels(SERVICE, self.topic, "refused").inc(sum(built.refused.values()))
        if built.refused:
            log.info("without_a_row", topic=self.topic, partition=self.partition, reasons=built.refused)
        VISIBLE_SECONDS.labels(self.topic).observe(max(0.0, time.time() - records[-1].timestamp / 1000))

    async def _ripe(self) -> int:
        """Wait until a batch should be sent; how many of the buffered records are in it. 0: none yet, or closing."""
        self._wake.clear()
        waiting = len(self._buffer)
        if not waiting:
            await self._wake.wait()
            return 0
        rest = self._oldest_at + self._batching.linger_s - time.monotonic()
        if waiting < self._batching.max_rows and not self.full and rest > 0:
            await self._sleep(rest)
            return 0
        count = min(waiting, self._batching.max_rows)
        if self._gate is None:
            return count
        self._awaits_verdict = True
        judged = await patiently(self._gate.judged_up_to, self._closing)
        if judged is None:
            return 0
        if self._buffer[0].offset > judged:
            await self._pause(GATE_POLL_S)
            return 0
        while self._buffer[count - 1].offset > judged:
            count -= 1
        return count

    async def _sleep(self, seconds: float) -> None:
        """Until the time has passed, records have come, or the lane is closing."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._wake.wait()

    async def _pause(self, seconds: float) -> None:
        """Until the time has passed or the lane is closing."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._closing.wait()


def _size(record: StampedRecord) -> int:
    """About what a record holds in memory, in bytes."""
    return size_of(record) + 500
