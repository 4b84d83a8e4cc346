"""Rows as the sink writes them, appended through the Storage Write API."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from google.cloud.bigquery_storage_v1 import types

from services.sink.append import OK, AppendConnection, freeze
from services.sink.pipeline import Rules, build
from shared.contracts.log import StampedRecord
from shared.contracts.transactions import Limits
from shared.settings import BigQuerySettings
from shared.warehouse.clients import bigquery_client
from shared.warehouse.columns import Row, Table
from shared.warehouse.writing import write_client
from tests.unit.sink.records import PARTITIONS

RULES = Rules(PARTITIONS, Limits())


def append(settings: BigQuerySettings, table: Table, rows: Sequence[Row]) -> None:
    """To a stream of their own."""
    client = write_client(settings)
    created = client.create_write_stream(
        parent=f"projects/{settings.project}/datasets/{table.dataset}/tables/{table.name}",
        write_stream=types.WriteStream(type_=types.WriteStream.Type.COMMITTED),
    )
    connection = AppendConnection(client, created.name, table)
    written = 0
    for batch in freeze(table, rows):
        answer = connection.append(batch, written)
        assert answer.code is OK, answer
        written += batch.rows
    connection.cancel()


def write(settings: BigQuerySettings, records: Sequence[StampedRecord]) -> None:
    """The rows of these records, as the sink would make them."""
    for topic in dict.fromkeys(record.topic for record in records):
        built = build(topic, [record for record in records if record.topic == topic], RULES, frozenset())
        assert not built.refused
        for table, rows in built.rows.items():
            append(settings, table, rows)


def query(settings: BigQuerySettings, sql: str) -> list[dict[str, Any]]:
    """`{project}` in the SQL stands for the project."""
    answer = bigquery_client(settings).query(sql.replace("{project}", settings.project)).result()
    return [dict(row.items()) for row in answer]
