"""Exactly-once appends to one table for one partition, by the Storage Write API with offsets."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TypeVar

import grpc
import structlog
from google.api_core.exceptions import NotFound
from google.cloud import bigquery
from google.cloud.bigquery_storage_v1 import BigQueryWriteClient, types

from services.sink.append import ALREADY_EXISTS, OK, Answer, AppendConnection, Frozen, freeze
from services.sink.chain import beginning, chained
from services.sink.metrics import APPEND_FAILURES, APPEND_SECONDS, TAKEOVERS, WAITING
from services.sink.pipeline import arrived_in
from services.sink.streams import StreamNames
from shared import google_errors
from shared.kafka.errors import GaveUp, TransientError
from shared.telemetry.metrics import SINK_ROWS
from shared.warehouse.clients import CALL_TIMEOUT_S, RETRY
from shared.warehouse.columns import Row, Table
from shared.warehouse.tables import CHAIN
from shared.warehouse.writing import WriteClients

log = structlog.get_logger()
T = TypeVar("T")

AWAY = (*google_errors.AWAY, grpc.RpcError)
"""What Google's clients raise where BigQuery refuses us, or can't be reached."""

APPEND_TIMEOUT_S = 15.0
"""Without an answer for so long the connection is taken for dead. A healthy append takes some tens of milliseconds."""

PATIENCE_S = 60.0
"""An append that fails for so long gets a new stream: whatever ails the old one may be of that stream."""

TAKEOVERS_AT_ONCE = 8
"""Each asks a query. The client keeps ten connections, and at a start all partitions want theirs."""

FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.1, 3.0

_LOST = frozenset({grpc.StatusCode.NOT_FOUND, grpc.StatusCode.OUT_OF_RANGE, grpc.StatusCode.FAILED_PRECONDITION})
"""The stream is gone, sealed, or behind what we were told of it: nothing may be appended to it any more."""

_PERHAPS_SEALED = _LOST | {grpc.StatusCode.INVALID_ARGUMENT}
"""How BigQuery and the emulator answer an append to a finalized stream, among other things."""


CONFIRM_S = 1.0
"""A stream's name that was seen in its place so long ago may be lost since, or another's stand there."""


class StreamLost(Exception):
    """This stream can't be gone on with. `open` anew and begin where that says: nothing is lost or doubled by it."""


class FencedOff(GaveUp):
    """Another process has taken the partition over and sealed our stream."""


@dataclass(frozen=True, slots=True)
class Warehouse:
    """What every writer of the process shares."""

    client: bigquery.Client
    writes: WriteClients
    names: StreamNames
    threads: ThreadPoolExecutor
    takeovers: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(TAKEOVERS_AT_ONCE))


class PartitionWriter:
    """Writes the rows of one topic partition to one table. One batch at a time, offsets rising.

    Guarantee: a row that `append` returned for is in the table once; whatever happens, a row is there at most once, and
    if it is, so are all before it. `open` seals the stream of whoever wrote before (also this process itself), asks
    the table how far it got, and only then makes a stream of its own; so no late append can slip in behind the answer.
    In a chained table, for the same reason, no two rows ever follow the same one.
    """

    def __init__(self, warehouse: Warehouse, table: Table, topic: str, partition: int) -> None:
        self._warehouse = warehouse
        self._writes: BigQueryWriteClient | None = None
        self.table = table
        self._topic = topic
        self._partition = partition
        self._parent = f"projects/{warehouse.client.project}/datasets/{table.dataset}/tables/{table.name}"
        self.place = f"{warehouse.client.project}.{table.id}/{topic}/{partition}"
        self._stream: str | None = None
        self._connection: AppendConnection | None = None
        self._replaced: str | None = None
        """Whose name stood in the place of our stream's before."""
        self._confirmed_at_s = 0.0
        self._next = 0
        """The stream's own offset of the next row."""
        self._highest = -1
        """Kafka's offset of the last row that the table holds."""
        self._link = beginning(topic, partition)
        """That row's, where the table is chained."""
        self.last_arrived_us: int | None = None
        """When the record of that row came to Kafka, as its row says: microseconds since 1970, known once taken over;
        None: there is no row."""
        self.failing = False
        """Whether the last attempt at an append failed, and another is to come."""

    async def open(self) -> int:
        """Take the partition over; give the highest Kafka offset that the table holds (-1: none).

        Raises TransientError; call it again then.
        """
        self.close()
        async with self._warehouse.takeovers:
            return await self._take_over()

    async def _take_over(self) -> int:
        names = self._warehouse.names
        if self._writes is None:
            self._writes = await self._blocking(self._warehouse.writes.take)
        writes = self._writes
        earlier = await names.current(self.place)
        # Its own as well, where Redis has lost the name: an append that nobody answered may still be on its way there.
        for stream in {each for each in (earlier, self._stream) if each is not None}:
            await self._blocking(functools.partial(self._finalize, writes, stream))
        highest, link, arrived_us = await self._blocking(self._last_row)
        stream = await self._blocking(functools.partial(self._create_stream, writes))
        if not await names.replace(self.place, earlier, stream):
            raise TransientError(f"another process is taking over {self.place}")
        if earlier is not None:
            TAKEOVERS.labels(self.table.id).inc()
        self._stream, self._next, self._highest, self.last_arrived_us = stream, 0, highest, arrived_us
        self._replaced, self._confirmed_at_s = earlier, time.monotonic()
        self._link = link or beginning(self._topic, self._partition)
        log.debug("writer_open", place=self.place, highest=highest)
        return highest

    async def append(self, rows: Sequence[Row]) -> None:
        """Append what the table doesn't hold yet; return once it is acknowledged.

        Raises StreamLost (open anew), FencedOff (leave it), RowInvalid (a fault of ours: nothing was sent).
        """
        new = [row for row in rows if row["kafka_offset"] > self._highest]
        if not new:
            return
        if self.table.chained:
            new = chained(new, self._link)
        started = time.perf_counter()
        loop = asyncio.get_running_loop()
        for batch in await loop.run_in_executor(self._warehouse.threads, freeze, self.table, new):
            await self._deliver(batch)
            self._next += batch.rows
            self._highest = batch.last_offset
            SINK_ROWS.labels(self.table.id).inc(batch.rows)
        if self.table.chained:
            self._link = new[-1][CHAIN.name]
        APPEND_SECONDS.labels(self.table.id).observe(time.perf_counter() - started)

    def close(self) -> None:
        """Drop the connection. The stream stays; whoever writes next seals it."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.cancel()

    def leave(self) -> None:
        """Close for good, and tell nothing of the partition any more: whoever writes next does. Else what was true at
        the end would be shown, and alarm people, for as long as this process lives."""
        self.close()
        if self._writes is not None:
            self._warehouse.writes.give_back(self._writes)
            self._writes = None
        self.failing = False
        WAITING.remove(self.table.id, str(self._partition))

    async def _deliver(self, batch: Frozen) -> None:
        """Send one frozen batch until it is known to be in the table."""
        in_doubt = False
        pause, give_up_at = FIRST_PAUSE_S, time.monotonic() + PATIENCE_S
        while True:
            await self._confirm_name()
            answer = await self._attempt(batch)
            if answer.code is OK:
                if answer.offset not in (None, self._next):
                    raise StreamLost(f"written at {answer.offset}, not at {self._next}")
                break
            if answer.code is ALREADY_EXISTS:
                # An earlier attempt at this very batch did land: nobody else writes to this stream. On the first
                # attempt that can't be, so the stream holds rows that we know nothing of.
                if in_doubt:
                    break
                raise StreamLost(f"offset {self._next} was taken: {answer.detail}")
            self.close()
            if answer.code in _PERHAPS_SEALED:
                await self._check_ownership(answer)
            if answer.code in _LOST:
                raise StreamLost(f"{answer.code.name}: {answer.detail}")
            in_doubt = True
            APPEND_FAILURES.labels(self.table.id, answer.code.name).inc()
            self._show_failing(True)
            log.warning("append_failed", place=self.place, code=answer.code.name, detail=answer.detail[:500])
            if time.monotonic() > give_up_at:
                raise StreamLost(f"no success in {PATIENCE_S:.0f} s, last {answer.code.name}: {answer.detail}")
            await asyncio.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE_S)
        self._show_failing(False)

    def _show_failing(self, failing: bool) -> None:
        self.failing = failing
        WAITING.labels(self.table.id, str(self._partition)).set(int(failing))

    async def _attempt(self, batch: Frozen) -> Answer:
        if self._stream is None or self._writes is None:
            raise StreamLost("not open")
        if self._connection is None:
            self._connection = AppendConnection(self._writes, self._stream, self.table)
        connection = self._connection
        loop = asyncio.get_running_loop()
        call = loop.run_in_executor(self._warehouse.threads, connection.append, batch, self._next)
        try:
            async with asyncio.timeout(APPEND_TIMEOUT_S):
                return await asyncio.shield(call)
        except (TimeoutError, asyncio.CancelledError) as error:
            connection.cancel()  # the thread then comes back at once
            if isinstance(error, asyncio.CancelledError):
                raise
            answer = await call
            return answer if answer.code is OK else Answer(grpc.StatusCode.DEADLINE_EXCEEDED, "no answer in time")

    async def _confirm_name(self) -> None:
        """See to it that whoever takes over after us can seal our stream, before more goes to it: Redis may have lost
        its name, or have come back as it was before that, and then it is put there again. Raises FencedOff."""
        if self._stream is None or time.monotonic() - self._confirmed_at_s < CONFIRM_S:
            return
        names = self._warehouse.names
        try:
            current = await names.current(self.place)
            ours = current == self._stream
            if not ours and current in (None, self._replaced):
                ours = await names.replace(self.place, current, self._stream)
                log.warning("stream_name_restored", place=self.place)
        except TransientError:
            return  # not known: go on as if it were there, as it nearly always is
        if ours:
            self._confirmed_at_s = time.monotonic()
            return
        if self._writes is not None:
            # Whoever's name that is may not have known of ours.
            with contextlib.suppress(TransientError):
                await self._blocking(functools.partial(self._finalize, self._writes, self._stream))
        raise FencedOff(f"{self.place} has another stream by now")

    async def _check_ownership(self, answer: Answer) -> None:
        """Raise FencedOff where the partition has another stream by now."""
        try:
            current = await self._warehouse.names.current(self.place)
        except TransientError:
            return  # not known: go on as if it were ours, the sealed stream takes nothing anyway
        if current is not None and current != self._stream:
            raise FencedOff(f"{self.place} was taken over ({answer.detail})")

    async def _blocking(self, call: Callable[[], T]) -> T:
        try:
            return await asyncio.get_running_loop().run_in_executor(self._warehouse.threads, call)
        except AWAY as error:
            raise TransientError(f"BigQuery, {self.place}: {error!r}"[:1000]) from error

    def _finalize(self, writes: BigQueryWriteClient, stream: str) -> None:
        try:
            writes.finalize_write_stream(name=stream, retry=None, timeout=CALL_TIMEOUT_S)
        except NotFound:
            log.warning("earlier_stream_is_gone", place=self.place)  # with its table, or forgotten after days of rest

    def _last_row(self) -> tuple[int, str | None, int | None]:
        """The highest offset (-1: none), the last link, and when that offset's record came to Kafka. Rows without a
        link may come after the last one: they aren't in the chain."""
        if self._highest >= 0:  # taken over once more: what lies before is known, and was paid for
            found = self._last_row_from(self._highest)
            if found[0] >= 0 and (found[1] is not None or not self.table.chained):
                return found
        return self._last_row_from(0)

    def _last_row_from(self, offset: int) -> tuple[int, str | None, int | None]:
        table = self.table
        last_link = f"MAX_BY({CHAIN.name}, IF({CHAIN.name} IS NULL, NULL, kafka_offset))" if table.chained else "NULL"
        query = (
            f"SELECT MAX(kafka_offset) AS highest, {last_link} AS link,"
            f" MAX_BY(UNIX_MICROS({arrived_in(table)}), kafka_offset) AS arrived_us"
            f" FROM `{self._warehouse.client.project}.{table.id}`"
            # As wide as time is: rows come in log order, not in that of their events. It is there since a table may
            # require it; the clustering by place is what keeps the reading small, where the offset is bounded too.
            f" WHERE {table.ever}"
            " AND kafka_topic = @topic AND kafka_partition = @partition AND kafka_offset >= @offset"
        )
        parameters = [
            bigquery.ScalarQueryParameter("offset", "INT64", offset),
            bigquery.ScalarQueryParameter("topic", "STRING", self._topic),
            bigquery.ScalarQueryParameter("partition", "INT64", self._partition),
        ]
        job = self._warehouse.client.query(
            query,
            job_config=bigquery.QueryJobConfig(query_parameters=parameters, use_query_cache=False),
            retry=RETRY,
            job_retry=None,
            timeout=CALL_TIMEOUT_S,
        )
        found = next(iter(job.result(timeout=CALL_TIMEOUT_S, retry=RETRY, job_retry=None)))
        return -1 if found.highest is None else int(found.highest), found.link, found.arrived_us

    def _create_stream(self, writes: BigQueryWriteClient) -> str:
        stream = types.WriteStream(type_=types.WriteStream.Type.COMMITTED)
        created = writes.create_write_stream(
            parent=self._parent, write_stream=stream, retry=None, timeout=CALL_TIMEOUT_S
        )
        return str(created.name)
