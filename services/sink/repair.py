"""Mends what a reconciliation found: rows that are missing are written from the log, rows too many are deleted.

Only of records below the sink's committed offset, where the running sink has no business: both may run at once.
Done again after it was interrupted, it goes on with what is still wrong. What an erasure has taken from an event's rows
isn't written again; letters don't say whose they are, so after they were repaired an erasure has to be run again.
A row of a chained table gets the link that it had; one that never was in the chain stays beside it.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import structlog
from aiokafka import TopicPartition
from google.api_core.exceptions import BadRequest, GoogleAPIError
from google.cloud import bigquery
from google.cloud.bigquery_storage_v1 import BigQueryWriteClient, types

from services.sink import erasure_rows
from services.sink.append import OK, AppendConnection, freeze
from services.sink.gate import RefusalIndex
from services.sink.pipeline import Rules, build
from services.sink.reconcile import WINDOW, Balance, group_reader, refusals_between, windows
from services.sink.relink import relinked
from shared.kafka.errors import TransientError
from shared.settings import KafkaSettings
from shared.warehouse.clients import CALL_TIMEOUT_S, RETRY
from shared.warehouse.columns import Row, Table
from shared.warehouse.tables import tables_of

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
    balances: Sequence[Balance],
) -> Repaired:
    """Mend the accounts that don't balance; how many rows that took.

    Raises StillBuffered, with nothing deleted of that table and partition; TransientError where BigQuery doesn't take
    some of the rows, once all is mended that nothing has to be deleted for.
    """
    faulty: dict[TopicPartition, list[Balance]] = defaultdict(list)
    for balance in balances:
        if not balance.balanced:
            faulty[TopicPartition(balance.topic, balance.partition)].append(balance)
    deleted = written = 0
    # Before anything is deleted: the log still has what an erasure took from the rows, and it must not come back.
    erased = await asyncio.to_thread(erasure_rows.erased_events, client) if faulty else set()
    refused: list[str] = []
    for at, of_tables in faulty.items():
        table_of = {table.id: table for table in tables_of(at.topic)}
        wanted = {
            table_of[balance.table]: {*balance.missing, *balance.doubled, *balance.wrong} for balance in of_tables
        }
        # Before anything is deleted: a row whose record the log no longer has stays, doubled or not.
        rows = await _rows_of(kafka, at, of_tables[0], index, rules, wanted)
        for balance in of_tables:
            table = table_of[balance.table]
            again = {row["kafka_offset"] for row in rows.get(table, ())}
            too_many = {*balance.unexpected, *(again & {*balance.doubled, *balance.wrong})}
            if refused and too_many:
                rows.pop(table, None)  # nothing is deleted while what is to come in its place may not be taken
                continue
            deleted += await asyncio.to_thread(_delete, client, table, at, sorted(too_many))
        for table, of_table in rows.items():
            if table.chained:
                of_table = await asyncio.to_thread(relinked, client, table, at, of_table)
            kept = [erasure_rows.emptied(table, row) if row.get("event_id") in erased else row for row in of_table]
            try:
                written += await asyncio.to_thread(_write, client, writes, table, kept)
            except TransientError as error:
                refused.append(str(error))  # the other tables and partitions don't wait for this one
        log.info("repaired", topic=at.topic, partition=at.partition, rows=sum(map(len, rows.values())))
    if refused:
        raise TransientError(f"{len(refused)} batch(es) not taken, run the repair again: {'; '.join(refused)}"[:1000])
    return Repaired(deleted, written)


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


async def _rows_of(
    kafka: KafkaSettings,
    at: TopicPartition,
    account: Balance,
    index: RefusalIndex,
    rules: Rules,
    wanted: dict[Table, set[int]],
) -> dict[Table, list[Row]]:
    """The rows of these offsets, made from the log as the sink makes them."""
    rows: dict[Table, list[Row]] = defaultdict(list)
    offsets: Collection[int] = set().union(*wanted.values())
    if not offsets:
        return rows
    async with group_reader(kafka) as consumer:
        consumer.assign([at])
        low = max(account.first, min(offsets))
        consumer.seek(at, low)
        async for records, high in windows(consumer, at, max(offsets) + 1):
            refused = await refusals_between(index, at, low, high)
            built = build(at.topic, records, rules, refused)
            for table, mine in wanted.items():
                rows[table] += [row for row in built.rows[table] if row["kafka_offset"] in mine]
            low = high
    return rows


def _write(client: bigquery.Client, writes: BigQueryWriteClient, table: Table, rows: Sequence[Row]) -> int:
    """Through a stream of their own, which is sealed at once. The sink's streams and their offsets stay as they are.
    Raises TransientError."""
    if not rows:
        return 0
    try:
        return _write_to_a_stream(client, writes, table, rows)
    except GoogleAPIError as error:
        raise TransientError(f"{table.id}: {error!r}"[:500]) from error


def _write_to_a_stream(client: bigquery.Client, writes: BigQueryWriteClient, table: Table, rows: Sequence[Row]) -> int:
    stream = writes.create_write_stream(
        parent=f"projects/{client.project}/datasets/{table.dataset}/tables/{table.name}",
        write_stream=types.WriteStream(type_=types.WriteStream.Type.COMMITTED),
        retry=None,
        timeout=CALL_TIMEOUT_S,
    )
    connection = AppendConnection(writes, str(stream.name), table)
    written = 0
    try:
        for batch in freeze(table, rows):
            answer = connection.append(batch, written)
            if answer.code is not OK:
                raise TransientError(f"{table.id}: {answer.code.name}: {answer.detail}")
            written += batch.rows
    finally:
        connection.cancel()
    writes.finalize_write_stream(name=str(stream.name), retry=None, timeout=CALL_TIMEOUT_S)
    return written
