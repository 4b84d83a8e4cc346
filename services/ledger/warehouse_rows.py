"""Reads which records have rows, and what those say, by Google's own client.

Of records that the log no longer has, what they were as well.
"""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Collection, Iterator
from typing import Any

import pyarrow as pa
from google.api_core.client_options import ClientOptions
from google.auth.credentials import AnonymousCredentials
from google.cloud import bigquery
from google.cloud.bigquery_storage_v1 import BigQueryReadClient, types

from services.ledger import chain
from services.ledger.chain import ChainRow, KeptRecord
from services.ledger.checks import LOADED, NOWHERE, Mirrored, Rows
from services.ledger.content import columns_of, of_row
from services.ledger.expired import Beginnings, Expired, body_of, enter_loaded, expired_of
from shared.contracts.topics import DECISIONS, FEATURES, OUTCOMES, TRANSACTIONS
from shared.settings import BigQuerySettings

TIMEOUT_SECONDS = 120


def open_client(settings: BigQuerySettings) -> bigquery.Client:
    if settings.is_emulator:
        return bigquery.Client(
            settings.project,
            credentials=AnonymousCredentials(),
            client_options=ClientOptions(api_endpoint=settings.rest_endpoint),
        )
    return bigquery.Client(settings.project)


def erased_events(client: bigquery.Client) -> frozenset[str]:
    """Event ids of purchases whose customer was erased: their rows say whose they are no more."""
    sql = f"SELECT event_id FROM `{client.project}.flit_bnpl_raw.transactions` WHERE customer_id IS NULL"
    rows = client.query(sql, timeout=TIMEOUT_SECONDS).result(timeout=TIMEOUT_SECONDS)
    return frozenset(row["event_id"] for row in rows)


def rows_of(client: bigquery.Client, reads: BigQueryReadClient, table: str) -> Rows:
    """(partition, offset) → the table's rows of that record. What was loaded in bulk has no place and is left out; what
    else has none is under NOWHERE."""
    found: dict[tuple[int, int], tuple[Mirrored, ...]] = {}
    nowhere: list[Mirrored] = []
    compared = columns_of(table)
    wanted = {"kafka_partition", "kafka_offset", "event_id", "load_id", *compared}
    full = client.get_table(f"{client.project}.{table}", timeout=TIMEOUT_SECONDS)
    for batch in _batches(reads, full, wanted):
        columns = {name: _plain(batch.column(name)) for name in batch.schema.names}
        none = [None] * batch.num_rows
        places = zip(columns["kafka_partition"], columns["kafka_offset"], strict=True)
        ids, loads = columns.get("event_id", none), columns.get("load_id", none)
        says = zip(*(columns[name] for name in compared), strict=True)
        for place, event_id, load_id, values in zip(places, ids, loads, says, strict=True):
            same_id = None if event_id is None else sys.intern(event_id)  # as in its record and its other rows
            if None not in place:
                found[place] = (*found.get(place, ()), Mirrored(same_id, of_row(table, values)))
            elif table not in LOADED or load_id is None:
                nowhere.append(Mirrored(same_id))
    return {**found, NOWHERE: nowhere} if nowhere else found


def _plain(column: pa.Array) -> list[Any]:
    """In Python's types; times as microseconds since 1970."""
    if pa.types.is_timestamp(column.type):
        column = column.cast(pa.timestamp("us", column.type.tz)).cast(pa.int64())
    values: list[Any] = column.to_pylist()
    return values


def _batches(reads: BigQueryReadClient, table: bigquery.Table, wanted: Collection[str]) -> Iterator[pa.RecordBatch]:
    """Those of the wanted columns that the table has. `list_rows` gives no condition, and a table that requires one is
    read by nobody without."""
    options = types.ReadSession.TableReadOptions(
        selected_fields=[column.name for column in table.schema if column.name in wanted],
        row_restriction=ever(table),
    )
    session = reads.create_read_session(
        parent=f"projects/{table.project}",
        read_session=types.ReadSession(
            table=f"projects/{table.project}/datasets/{table.dataset_id}/tables/{table.table_id}",
            data_format=types.DataFormat.ARROW,
            read_options=options,
        ),
        max_stream_count=1,
        timeout=TIMEOUT_SECONDS,
    )
    for stream in session.streams:
        # Without a deadline of ours: it would be one for the whole stream, with all that is done with its rows.
        for page in reads.read_rows(stream.name).rows(session).pages:
            whole = page.to_arrow()
            for start in range(0, whole.num_rows, ROWS_AT_ONCE):
                yield whole.slice(start, ROWS_AT_ONCE)


def ever(table: bigquery.Table) -> str:
    """A condition that every row meets, for a table that is divided into days. Empty for one that isn't, and for one
    whose rows need not have a day, which can be read without."""
    days = table.time_partitioning
    field = None if days is None else days.field
    column = next((column for column in table.schema if column.name == field), None)
    required = column is not None and column.mode == "REQUIRED"
    return f"{field} >= TIMESTAMP '0001-01-01 00:00:00+00'" if required else ""


TYPED = {
    TRANSACTIONS.name: (
        "flit_bnpl_raw.transactions",
        "event_id, source, customer_id, occurred_at, amount, currency, device_id, product_category, payment_method_id,"
        " installments_count, installments_frequency, misplaced",
    ),
    OUTCOMES.name: ("flit_bnpl_raw.outcomes", "event_id, customer_id, observed_at, defaulted, misplaced"),
    FEATURES.name: ("flit_ml_raw.features", "event_id"),
    DECISIONS.name: ("flit_ml_raw.raw_bnpl_prediction_logs", "event_id"),
}
"""Topic → the table that says what its records were, and the columns that say it."""

ROWS_AT_ONCE = 5_000
"""In Python's types, which take much more room than Arrow's."""

EVENTS_AT_ONCE = 5_000
"""In one query's list."""


def expired(client: bigquery.Client, beginnings: Beginnings) -> Expired:
    """What lay before the log's beginnings; empty, and not asked for, while the log has all of it."""
    if not any(beginnings.values()):
        return Expired()
    rows = {topic: _below(client, topic, beginnings) for topic in TYPED}
    letters = (
        "SELECT kafka_partition, kafka_offset, source_topic, source_partition, source_offset, reason, value_sha256"
        f" FROM `{client.project}.flit_ml_raw.dead_letters`"
    )
    return expired_of(beginnings, rows, _asked(client, letters))


def add_loaded(client: bigquery.Client, found: Expired) -> None:
    """Enter what was loaded in bulk of customers who have bought through the stream: their features begin with it."""
    project = client.project
    seen = f"SELECT customer_id FROM `{project}.flit_bnpl_raw.transactions` WHERE kafka_topic IS NOT NULL"
    purchases, outcomes = (
        _asked(
            client,
            f"SELECT kafka_offset, {columns} FROM `{project}.{table}`"
            f" WHERE load_id IS NOT NULL AND customer_id IN ({seen}) ORDER BY load_id, load_row",
        )
        for table, columns in (TYPED[TRANSACTIONS.name], TYPED[OUTCOMES.name])
    )
    enter_loaded(found, purchases, outcomes)


def _below(client: bigquery.Client, topic: str, beginnings: Beginnings) -> Iterator[Any]:
    places = _before(topic, beginnings)
    if not places:
        return iter(())
    table, columns = TYPED[topic]
    return _asked(
        client,
        f"SELECT kafka_partition, kafka_offset, {columns} FROM `{client.project}.{table}`"
        f" WHERE kafka_topic = '{topic}' AND ({places}) ORDER BY kafka_partition, kafka_offset",
    )


def _before(topic: str, beginnings: Beginnings) -> str:
    """The condition on a row that its record is gone from the log; empty: none is."""
    return " OR ".join(
        f"(kafka_partition = {partition} AND kafka_offset < {first})"
        for (name, partition), first in beginnings.items()
        if name == topic and first > 0
    )


def chains(client: bigquery.Client) -> dict[int, list[ChainRow]]:
    """Partition → the rows of its chain, in any order. The warehouse hashes what it holds; nobody sends it around."""
    found: dict[int, list[ChainRow]] = defaultdict(list)
    sql = (
        "SELECT kafka_partition, kafka_offset, record_sha256, chain_sha256, TO_HEX(SHA256(record_json)) AS kept"
        f" FROM `{client.project}.{chain.TABLE}` WHERE kafka_topic = '{chain.TOPIC}' AND kafka_offset IS NOT NULL"
    )
    for row in _asked(client, sql):
        found[row["kafka_partition"]].append(
            ChainRow(row["kafka_offset"], row["record_sha256"], row["chain_sha256"], row["kept"])
        )
    return found


def kept_records(client: bigquery.Client, beginnings: Beginnings) -> Iterator[KeptRecord]:
    """What the rows hold of decisions that lay before the log's beginnings."""
    places = _before(chain.TOPIC, beginnings)
    if not places:
        return
    sql = (
        "SELECT kafka_partition, kafka_offset, record_json, TO_JSON_STRING(features) AS features, customer_id"
        f" FROM `{client.project}.{chain.TABLE}` WHERE kafka_topic = '{chain.TOPIC}'"
        f" AND record_sha256 IS NOT NULL AND ({places})"
    )
    for row in _asked(client, sql):
        yield KeptRecord(
            row["kafka_partition"], row["kafka_offset"], row["record_json"], row["features"], row["customer_id"] is None
        )


def bodies(
    client: bigquery.Client, event_ids: Collection[str]
) -> Iterator[tuple[str, str | None, int, dict[str, Any]]]:
    """(event id, customer, partition, purchase) of the purchases that rows are of."""
    wanted = sorted(event_ids)
    for start in range(0, len(wanted), EVENTS_AT_ONCE):
        some = bigquery.ArrayQueryParameter("events", "STRING", wanted[start : start + EVENTS_AT_ONCE])
        sql = (
            f"SELECT * FROM `{client.project}.flit_bnpl_raw.transactions` WHERE event_id IN UNNEST(@events)"
            " AND kafka_offset IS NOT NULL AND misplaced IS NOT TRUE ORDER BY kafka_partition, kafka_offset"
        )
        for row in _asked(client, sql, bigquery.QueryJobConfig(query_parameters=[some])):
            yield row["event_id"], row["customer_id"], row["kafka_partition"], body_of(row)


def _asked(client: bigquery.Client, sql: str, config: bigquery.QueryJobConfig | None = None) -> Iterator[Any]:
    job = client.query(sql, job_config=config, timeout=TIMEOUT_SECONDS)
    yield from job.result(page_size=20_000, timeout=TIMEOUT_SECONDS)
