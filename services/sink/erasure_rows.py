"""One customer's rows of the warehouse, emptied of what is personal. They stay: event, decision, amounts, place.

BigQuery changes no row that lies in the streaming buffer still, which may take 90 minutes, and refuses a statement that
meets one as a whole. Then the older rows are done, and the others named.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from google.api_core.exceptions import BadRequest
from google.cloud import bigquery

from services.sink.erasure_log import Signs, from_base64
from services.sink.pipeline import arrived_in
from shared.warehouse import tables
from shared.warehouse.clients import RETRY
from shared.warehouse.columns import Row, Table
from shared.warehouse.tables import STREAMED

BUFFER_MINUTES = 95
"""Google names 90 as the longest that a row stays in the buffer."""

QUERY_TIMEOUT_S = 300.0
SHOWN = 20
PLACES_AT_ONCE = 1000
"""Letters named in one statement."""


@dataclass(frozen=True, slots=True)
class Emptied:
    rows: int
    left: tuple[str, ...] = ()
    """Rows (partition-offset) that BigQuery doesn't let go yet; the first few of them."""


@dataclass(frozen=True, slots=True)
class _Whose:
    """A predicate and its one parameter; no values: it has none."""

    sql: str
    values: Sequence[str]


def events_of(client: bigquery.Client, names: Sequence[str]) -> set[str]:
    """Event ids of the rows that still say whose they are."""
    return _events(client, lambda table: _whose(table, names))


def erased_events(client: bigquery.Client) -> set[str]:
    """Event ids of the rows that have forgotten whose they are."""
    return _events(client, lambda table: _Whose(f"{_owner(table)} IS NULL", []))


def _events(client: bigquery.Client, whose: Callable[[Table], _Whose]) -> set[str]:
    found: set[str] = set()
    for table in STREAMED:
        if table is not tables.DEAD_LETTERS:
            those = whose(table)
            query = f"SELECT DISTINCT event_id FROM {_from(client, table)} AND {those.sql}"
            rows = _run(client, query, those if those.values else None)
            found.update(row.event_id for row in rows.result(timeout=QUERY_TIMEOUT_S) if row.event_id is not None)
    return found


def emptied(table: Table, row: Row) -> Row:
    """The row as an erasure leaves it."""
    return row | {column.name: "{}" if column.required else None for column in table.personal}


def empty(client: bigquery.Client, table: Table, names: Sequence[str]) -> Emptied:
    """Empty the personal columns of the customer's rows. Does nothing to rows that were emptied before."""
    if table is not tables.DEAD_LETTERS:
        return _empty(client, table, _whose(table, names))
    done, left = 0, list[str]()
    places = list(_letters(client, names))
    for begin in range(0, len(places), PLACES_AT_ONCE):
        each = _empty(client, table, _Whose(_AT_PLACES, places[begin : begin + PLACES_AT_ONCE]))
        done += each.rows
        left += each.left
    return Emptied(done, tuple(left[:SHOWN]))


def _whose(table: Table, names: Sequence[str]) -> _Whose:
    return _Whose(f"{_owner(table)} IN UNNEST(@values)", list(names))


def _owner(table: Table) -> str:
    """The customer's id in a row, as SQL."""
    return "JSON_VALUE(json_body, '$.customer_id')" if table is tables.RAW_TRANSACTIONS else "customer_id"


_PLACE = (
    "IF(kafka_offset IS NULL, CONCAT(load_id, ' ', COALESCE(value_sha256, key_base64)), "
    "FORMAT('%d-%d', kafka_partition, kafka_offset))"
)
"""Of a letter. One that was loaded in bulk has none in Kafka: there its load and what it holds stand for it, which is
all that counts here."""
_AT_PLACES = f"{_PLACE} IN UNNEST(@values)"


def _letters(client: bigquery.Client, names: Sequence[str]) -> Iterator[str]:
    """Places of the dead letters that tell of the customer. Looked through here: their bytes may be anything."""
    mine = Signs(names)
    query = (
        f"SELECT {_PLACE} AS place, key_base64, value_base64 "
        f"FROM {_from(client, tables.DEAD_LETTERS)} "
        "AND (key_base64 IS NOT NULL OR value_base64 IS NOT NULL)"
    )
    for row in _run(client, query, None).result(timeout=QUERY_TIMEOUT_S, page_size=1000):
        if mine.on(from_base64(row.key_base64), from_base64(row.value_base64)):
            yield row.place


def _empty(client: bigquery.Client, table: Table, whose: _Whose) -> Emptied:
    update = f"UPDATE {_table(client, table)} SET {table.emptying} WHERE {table.ever} AND {whose.sql}"
    try:
        return Emptied(_affected(client, update, whose))
    except BadRequest as error:
        if "streaming buffer" not in str(error).lower():
            raise
    try:
        settled = f"{arrived_in(table)} < TIMESTAMP_SUB(CURRENT_TIMESTAMP(), INTERVAL {BUFFER_MINUTES} MINUTE)"
        done = _affected(client, f"{update} AND {settled}", whose)
    except BadRequest as error:  # rows of old records that were written lately
        if "streaming buffer" not in str(error).lower():
            raise
        done = 0
    rest = _run(
        client,
        f"SELECT kafka_partition, kafka_offset FROM {_from(client, table)} AND {whose.sql} "
        f"ORDER BY kafka_partition, kafka_offset LIMIT {SHOWN}",
        whose,
    )
    return Emptied(
        done, tuple(f"{row.kafka_partition}-{row.kafka_offset}" for row in rest.result(timeout=QUERY_TIMEOUT_S))
    )


def _affected(client: bigquery.Client, sql: str, whose: _Whose) -> int:
    job = _run(client, sql, whose)
    job.result(timeout=QUERY_TIMEOUT_S)
    return job.num_dml_affected_rows or 0


def _run(client: bigquery.Client, sql: str, whose: _Whose | None) -> Any:
    parameters = [] if whose is None else [bigquery.ArrayQueryParameter("values", "STRING", list(whose.values))]
    config = bigquery.QueryJobConfig(query_parameters=parameters, use_query_cache=False)
    return client.query(sql, job_config=config, retry=RETRY, timeout=QUERY_TIMEOUT_S)


def _table(client: bigquery.Client, table: Table) -> str:
    return f"`{client.project}.{table.id}`"


def _from(client: bigquery.Client, table: Table) -> str:
    return f"{_table(client, table)} WHERE {table.ever}"
