"""The neighbours that a repaired row of a chained table had, read from the table."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from aiokafka import TopicPartition
from google.cloud import bigquery

from services.sink.chain import Link, beginning, restored
from shared.warehouse.clients import RETRY
from shared.warehouse.columns import Row, Table
from shared.warehouse.tables import CHAIN

QUERY_TIMEOUT_S = 300.0
PAGE_ROWS = 20_000


def relinked(
    client: bigquery.Client, table: Table, at: TopicPartition, rows: Sequence[Row], without: Collection[int] = ()
) -> list[Row]:
    """Rows of one partition that the table lacks, in order of their offsets, with the links that they had. `without`:
    what the table holds at these offsets isn't looked at, as if it were gone. Raises what the client raises."""
    if not rows:
        return []
    offsets = {row["kafka_offset"] for row in rows}.union(without)
    around = (
        f"MAX(IF(kafka_offset < {min(offsets)}, kafka_offset, NULL)) AS low,"
        f" MIN(IF(kafka_offset > {max(offsets)}, kafka_offset, NULL)) AS high"
    )
    ((low, high),) = _chain(client, table, at, around)
    low, high = (min(offsets) if low is None else low), (max(offsets) if high is None else high)
    within = f" AND kafka_offset BETWEEN {low} AND {high} ORDER BY kafka_offset"
    found = _chain(client, table, at, f"kafka_offset, record_sha256, {CHAIN.name}", within)
    present = [Link(*each) for each in found]
    return restored(rows, [each for each in present if each.offset not in without], beginning(at.topic, at.partition))


def _chain(
    client: bigquery.Client, table: Table, at: TopicPartition, columns: str, within: str = ""
) -> list[tuple[Any, ...]]:
    query = (
        f"SELECT {columns} FROM `{client.project}.{table.id}`"
        f" WHERE {table.ever}"
        f" AND kafka_topic = @topic AND kafka_partition = @partition AND {CHAIN.name} IS NOT NULL{within}"
    )
    parameters = [
        bigquery.ScalarQueryParameter("topic", "STRING", at.topic),
        bigquery.ScalarQueryParameter("partition", "INT64", at.partition),
    ]
    config = bigquery.QueryJobConfig(query_parameters=parameters, use_query_cache=False)
    job = client.query(query, job_config=config, retry=RETRY)
    return [tuple(row.values()) for row in job.result(timeout=QUERY_TIMEOUT_S, page_size=PAGE_ROWS)]
