"""Mends what doesn't balance: rows that are missing are written from the log, rows too many are deleted.

Window by window: each is read, compared and mended before the next is read, so that memory grows neither with the log
nor with what is wrong. Only of records below the sink's committed offset: a sink that goes on from there may run at the
same time. One that takes a partition over writes what is missing behind a table's last row, so just before rows are
written it is asked again whether they still are; what comes between that and the writing is there twice, as the next
comparison says, and the next repair mends that. Done again after it was interrupted, it goes on with what is still
wrong. Who was refused, letters tell (`verdicts`). What an erasure has taken
from an event's rows isn't written again; letters don't say whose they are, so after they were repaired an erasure has
to be run again. A row of a chained table gets the link that it had; one that never was in the chain stays beside it.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import structlog
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import OffsetOutOfRangeError
from google.api_core.exceptions import BadRequest
from google.cloud import bigquery
from google.cloud.bigquery_storage_v1 import BigQueryWriteClient, types

from services.sink import erasure_rows, reconcile
from services.sink.append import OK, AppendConnection, Frozen, freeze
from services.sink.bigquery import AWAY
from services.sink.gate import RefusalIndex
from services.sink.group_reader import group_reader
from services.sink.letters import LetterReader
from services.sink.pipeline import Rules
from services.sink.reconcile import WINDOW, Balance, Window, compared, extent
from services.sink.relink import relinked
from services.sink.verdicts import Verdicts
from shared.contracts import topics
from shared.kafka.errors import TransientError
from shared.settings import KafkaSettings
from shared.warehouse.clients import CALL_TIMEOUT_S, RETRY
from shared.warehouse.columns import Row, Table

log = structlog.get_logger()

DELETE_TIMEOUT_S = 300.0


class StillBuffered(Exception):
    """BigQuery changes no row that was written in the last 90 minutes or so; the same repair works later."""


@dataclass(frozen=True, slots=True)
class Repaired:
    deleted: int
    written: int


async def repair(
    kafka: KafkaSettings,
    client: bigquery.Client,
    writes: BigQueryWriteClient,
    index: RefusalIndex,
    rules: Rules,
) -> Repaired:
    """Compare log and warehouse, and mend what doesn't balance; how many rows that took.

    Raises, once all else is mended: TransientError where BigQuery doesn't take some of the rows, from when on nothing
    is deleted any more; StillBuffered where it doesn't let some of them go. Of a table and partition where it didn't,
    the rest waits for the next repair.
    """
    mending = _Mending(client, writes)
    verdicts = Verdicts(rules, index, await LetterReader(kafka, client).all())
    async with group_reader(kafka) as consumer:
        for topic in topics.ALL:
            for number in range(rules.partitions):
                await _partition(consumer, TopicPartition(topic.name, number), verdicts, mending)
    if mending.refused:
        raise TransientError(
            f"{len(mending.refused)} batch(es) not taken, run the repair again: "
            f"{'; '.join([*mending.refused, *mending.buffered])}"[:1000]
        )
    if mending.buffered:
        raise StillBuffered("; ".join(mending.buffered)[:1000])
    return Repaired(mending.deleted, mending.written)


async def _partition(consumer: AIOKafkaConsumer, at: TopicPartition, verdicts: Verdicts, mending: _Mending) -> None:
    """Once more, from where the log begins by now, where retention has moved on meanwhile."""
    consumer.assign([at])
    while True:
        with contextlib.suppress(OffsetOutOfRangeError):
            first, end, _ = await extent(consumer, at)
            async for window in compared(consumer, at, mending.client, verdicts, first, end):
                if not all(account.balanced for account in window.accounts.values()):
                    # Before anything is deleted: a row whose record was gone before it was read is there rightly.
                    if (await consumer.beginning_offsets([at]))[at] > window.low:
                        raise OffsetOutOfRangeError({at: window.low})
                    await mending.mend(at, window)
                del window
            return
        log.info("retention_moved_on", topic=at.topic, partition=at.partition)


class _Mending:
    """What was done so far, and what can't be done this time. Of each partition the windows come in order."""

    def __init__(self, client: bigquery.Client, writes: BigQueryWriteClient) -> None:
        self.client = client
        self._writes = writes
        self.deleted = self.written = 0
        self.refused: list[str] = []
        """Why BigQuery didn't take rows: one for a table and partition at most."""
        self.buffered: list[str] = []
        """Where it didn't let rows go: the same."""
        self._left: set[tuple[TopicPartition, Table]] = set()
        self._erased: set[str] = set()
        self._asked_for: TopicPartition | None = None

    async def mend(self, at: TopicPartition, window: Window) -> None:
        """Raises what the client raises."""
        if at != self._asked_for:
            # Before anything is deleted: the log still has what an erasure took from the rows, and it must not come
            # back. Asked for each partition, since somebody may be erased while this goes on; what was known stays
            # known, since the rows that told it may be among the deleted.
            self._erased |= await asyncio.to_thread(erasure_rows.erased_events, self.client)
            self._asked_for = at
        before = self.written
        for table, account in window.accounts.items():
            if not account.balanced and (at, table) not in self._left:
                await self._mend_table(at, table, account, window.rows[table])
        rows = self.written - before
        log.info("repaired", topic=at.topic, partition=at.partition, rows=rows, up_to=window.high - 1)

    async def _mend_table(self, at: TopicPartition, table: Table, account: Balance, expected: Sequence[Row]) -> None:
        wanted = {*account.missing, *account.doubled, *account.wrong}
        rows = [row for row in expected if row["kafka_offset"] in wanted]
        again = {row["kafka_offset"] for row in rows}
        too_many = {*account.unexpected, *(again & {*account.doubled, *account.wrong})}
        if self.refused and too_many:
            self._left.add((at, table))  # nothing is deleted while what is to come in its place may not be taken
            return
        try:
            # All that can fail, and doesn't need the rows to be gone, comes before they are: what is deleted and not
            # written is missing until the next repair.
            ready = await asyncio.to_thread(self._prepared, table, at, rows, too_many)
            self.deleted += await asyncio.to_thread(_delete, self.client, table, at, sorted(too_many))
            if ready is not None:
                await asyncio.to_thread(self._check_still_missing, table, at, again)
                self.written += await asyncio.to_thread(_write, self._writes, table, ready)
        except (TransientError, StillBuffered) as error:
            # The other tables and partitions don't wait for this one. The windows behind it do: their rows would be
            # linked to the one before those that are missing still.
            (self.buffered if isinstance(error, StillBuffered) else self.refused).append(str(error))
            self._left.add((at, table))

    def _check_still_missing(self, table: Table, at: TopicPartition, offsets: set[int]) -> None:
        """Raises TransientError where somebody has written one of them since the comparison. Blocking."""
        with _transient(table):
            held = reconcile.rows_between(self.client, table, at, min(offsets), max(offsets) + 1)
        if came := sorted(offsets.intersection(offset for offset, _ in held)):
            raise TransientError(f"{table.id}, {at.topic}-{at.partition}: a sink has written {came[0]} meanwhile")

    def _prepared(self, table: Table, at: TopicPartition, rows: Sequence[Row], too_many: set[int]) -> _Ready | None:
        """None where there is nothing to write. Blocking. Raises TransientError, RowInvalid."""
        if not rows:
            return None
        with _transient(table):
            if table.chained:
                rows = relinked(self.client, table, at, rows, too_many)
            kept = [erasure_rows.emptied(table, row) if row.get("event_id") in self._erased else row for row in rows]
            batches = freeze(table, kept)
            return _Ready(_stream(self.client, self._writes, table), batches)


@dataclass(frozen=True, slots=True)
class _Ready:
    """Rows to write, and a stream of their own. One that nothing is written to BigQuery forgets by itself."""

    stream: str
    batches: Sequence[Frozen]


@contextlib.contextmanager
def _transient(table: Table) -> Iterator[None]:
    """BigQuery's errors as TransientError."""
    try:
        yield
    except AWAY as error:
        raise TransientError(f"{table.id}: {error!r}"[:500]) from error


def _delete(client: bigquery.Client, table: Table, at: TopicPartition, offsets: Sequence[int]) -> int:
    deleted = 0
    for begin in range(0, len(offsets), WINDOW):
        query = (
            f"DELETE FROM `{client.project}.{table.id}`"
            f" WHERE {table.ever}"
            " AND kafka_topic = @topic AND kafka_partition = @partition AND kafka_offset IN UNNEST(@offsets)"
        )
        parameters = [
            bigquery.ScalarQueryParameter("topic", "STRING", at.topic),
            bigquery.ScalarQueryParameter("partition", "INT64", at.partition),
            bigquery.ArrayQueryParameter("offsets", "INT64", list(offsets[begin : begin + WINDOW])),
        ]
        job = client.query(query, job_config=bigquery.QueryJobConfig(query_parameters=parameters), retry=RETRY)
        try:
            job.result(timeout=DELETE_TIMEOUT_S)
        except BadRequest as error:
            if "streaming buffer" in str(error):
                raise StillBuffered(
                    f"{table.id}, {at.topic}-{at.partition}: rows are in the streaming buffer"
                ) from None
            raise
        deleted += int(job.num_dml_affected_rows or 0)
    return deleted


def _stream(client: bigquery.Client, writes: BigQueryWriteClient, table: Table) -> str:
    """The sink's own streams and their offsets stay as they are."""
    stream = writes.create_write_stream(
        parent=f"projects/{client.project}/datasets/{table.dataset}/tables/{table.name}",
        write_stream=types.WriteStream(type_=types.WriteStream.Type.COMMITTED),
        retry=None,
        timeout=CALL_TIMEOUT_S,
    )
    return str(stream.name)


def _write(writes: BigQueryWriteClient, table: Table, ready: _Ready) -> int:
    """And seal the stream at once. Raises TransientError."""
    written = 0
    with _transient(table):
        connection = AppendConnection(writes, ready.stream, table)
        try:
            for batch in ready.batches:
                answer = connection.append(batch, written)
                if answer.code is not OK:
                    raise TransientError(f"{table.id}: {answer.code.name}: {answer.detail}")
                written += batch.rows
        except BaseException:
            # Sealed as well: an answer that was lost may be of an append that is still on its way.
            with contextlib.suppress(*AWAY):
                writes.finalize_write_stream(name=ready.stream, retry=None, timeout=CALL_TIMEOUT_S)
            raise
        finally:
            connection.cancel()
        writes.finalize_write_stream(name=ready.stream, retry=None, timeout=CALL_TIMEOUT_S)
    return written
